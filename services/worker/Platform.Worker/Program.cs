using Platform.Hosting;
using Platform.Worker;
using Platform.Worker.Agent;
using Platform.Worker.Engine;

return args switch
{
    ["agent", .. var rest] => await PlatformHost.RunAsync(() => AgentApplication.Build(rest, OwnProgram.UseForRanks)),
    ["rank", "--launch", var file] => await RankProgram.RunAsync(file, CancellationToken.None),
    _ => Usage.Print(),
};
