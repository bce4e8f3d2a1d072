using Platform.Hosting;
using Platform.Worker;
using Platform.Worker.Agent;

return args switch
{
    ["agent", .. var rest] => await PlatformHost.RunAsync(() => AgentApplication.Build(rest, OwnProgram.UseForRanks)),
    _ => Usage.Print(),
};
