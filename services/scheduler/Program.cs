using Platform.Hosting;
using Platform.Scheduler;

return await PlatformHost.RunAsync(() => SchedulerApplication.Build(args, configure: null));
