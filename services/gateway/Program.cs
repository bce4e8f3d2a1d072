using Platform.Gateway;
using Platform.Hosting;

return await PlatformHost.RunAsync(() => GatewayApplication.Build(args, configure: null));
