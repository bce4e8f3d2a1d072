using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Platform.Core.Deployments;
using Platform.Core.Specs;
using Platform.Core.Validation;
using Platform.Hosting.Artifacts;
using Platform.Hosting.Errors;
using Platform.Hosting.Network;
using Platform.Hosting.Telemetry;
using Platform.Scheduler.Adapters;
using Platform.Scheduler.Core;
using Platform.Scheduler.Data;
using Platform.Scheduling.Cycle;
using Platform.V1;
using DeploymentState = Platform.Scheduling.Deployments.DeploymentState;

namespace Platform.Scheduler.Grpc;

/// <summary>Models being served, as their owners see them.</summary>
internal sealed class DeploymentServiceImpl(ControlLoop loop, ModelRegistry registry, JobSubmission submission, ChangeFeed feed, ArtifactOptions artifacts)
    : DeploymentService.DeploymentServiceBase
{
    private const string LoraPath = "engine_config.lora";

    public override async Task<Deployment> CreateDeployment(CreateDeploymentRequest request, ServerCallContext context)
    {
        string project = Requests.Project(request.Parent);
        var violations = Requests.RequestId(request.RequestId).ToList();
        string model = ModelOf(project, request.Deployment?.Model ?? "", violations);
        string id = request.DeploymentId.Length > 0 ? request.DeploymentId : model;
        if (!ResourceId.IsValid(id))
        {
            violations.Add(new Violation("deployment_id", $"'{id}' is not a deployment's name: {ResourceId.Rule}."));
        }

        var spec = SpecOf(request.Deployment, model, violations);
        if (violations.Count > 0 || spec is null)
        {
            throw new InvalidRequestException(violations);
        }

        var row = await registry.FindAsync(project, model, context.CancellationToken)
            ?? throw new FailedPreconditionException("MODEL_UNKNOWN", $"There is no {ResourceNames.Model(project, model)}; train or import it first.");
        if (row.Architecture == ModelDirectories.AdapterArchitecture)
        {
            throw new FailedPreconditionException("MODEL_IS_ADAPTER", $"{ResourceNames.Model(project, model)} is an adapter; name it in engine_config.lora.adapters of the model that it adapts.");
        }

        var companions = await CompanionsAsync(project, spec, row, context.CancellationToken);
        submission.RequireFeasible(GangShape.Of(spec), "");
        string user = CallerHeader.Read(context);
        string? trace = TraceContext.Current;
        await loop.RunAsync(
            control =>
            {
                if (control.Plane.FindDeployment($"{project}/{id}") is { } known)
                {
                    return Redeploy(control, known, spec, row, companions);
                }

                RequireFreeNames(control, project, id, spec);
                var created = ModelRegistry.NewDeployment(project, id, spec, row, companions, user, trace, control.Now);
                control.Plane.PutDeployment(created);
                return created;
            },
            context.CancellationToken);
        return await ReadAsync(project, id, context.CancellationToken);
    }

    public override Task<Deployment> GetDeployment(GetDeploymentRequest request, ServerCallContext context)
    {
        var (project, id) = Requests.Name(request.Name, "deployments");
        return ReadAsync(project, id, context.CancellationToken);
    }

    public override async Task<ListDeploymentsResponse> ListDeployments(ListDeploymentsRequest request, ServerCallContext context)
    {
        string project = Requests.Project(request.Parent);
        var (size, after) = Requests.Page(request.PageSize, request.PageToken);
        return await loop.RunAsync(
            control =>
            {
                // The token is the number of deployments already seen, in order of their names.
                int skip = (int)(after ?? 0);
                var all = control.Plane.Deployments.Where(deployment => deployment.Project == project).ToList();
                var replicas = control.Plane.Replicas;
                var response = new ListDeploymentsResponse { NextPageToken = all.Count > skip + size ? PageToken.Write(skip + size) : "" };
                response.Deployments.AddRange(all.Skip(skip).Take(size).Select(deployment => DeploymentMessages.Of(deployment, replicas)));
                return response;
            },
            context.CancellationToken);
    }

    public override async Task<Deployment> UpdateDeployment(UpdateDeploymentRequest request, ServerCallContext context)
    {
        var (project, id) = Requests.Name(request.Deployment?.Name ?? "", "deployments", "deployment.name");
        string[] paths = request.UpdateMask?.Paths.Count > 0 ? [.. request.UpdateMask.Paths] : ["desired_replicas"];
        var violations = paths.Where(path => path != "desired_replicas")
            .Where(path => path != LoraPath)
            .Select(path => new Violation("update_mask", $"'{path}' cannot be changed; delete the deployment and create it anew. Only desired_replicas and {LoraPath} can.")).ToList();
        int desired = request.Deployment?.DesiredReplicas ?? 0;
        if (desired < 0)
        {
            violations.Add(new Violation("deployment.desired_replicas", $"Expected 0 or more, found {desired}."));
        }

        if (violations.Count > 0)
        {
            throw new InvalidRequestException(violations);
        }

        var adapted = paths.Contains(LoraPath) ? await AdaptedAsync(project, id, request.Deployment!, context.CancellationToken) : null;
        await loop.RunAsync(
            control =>
            {
                var known = Require(control, project, id);
                if (request.Deployment!.Etag.Length > 0 && request.Deployment.Etag != DeploymentMessages.Of(known, control.Plane.Replicas).Etag)
                {
                    throw new ConflictException($"{id} has changed since it was read.");
                }

                if (adapted is { } change && !Same(known, change.Spec, change.Companions))
                {
                    RequireFreeNames(control, project, id, change.Spec);
                    known = known.With(change.Spec, change.Companions.Adapters);
                }

                control.Plane.PutDeployment(known with { DesiredReplicas = paths.Contains("desired_replicas") ? desired : known.DesiredReplicas, NotBefore = null });
                return true;
            },
            context.CancellationToken);
        return await ReadAsync(project, id, context.CancellationToken);
    }

    public override async Task<Empty> DeleteDeployment(DeleteDeploymentRequest request, ServerCallContext context)
    {
        var (project, id) = Requests.Name(request.Name, "deployments");
        await loop.RunAsync(
            control =>
            {
                control.Plane.PutDeployment(Require(control, project, id) with { Deleting = true });
                return true;
            },
            context.CancellationToken);
        return new Empty();
    }

    public override async Task WatchDeployment(WatchDeploymentRequest request, IServerStreamWriter<WatchDeploymentResponse> responseStream, ServerCallContext context)
    {
        var (project, id) = Requests.Name(request.Name, "deployments");
        using var watcher = feed.Watch();
        string last = "";
        while (true)
        {
            Deployment deployment;
            try
            {
                deployment = await ReadAsync(project, id, context.CancellationToken);
            }
            catch (NotFoundException) when (last.Length > 0)
            {
                return;
            }

            if (deployment.Etag != last)
            {
                last = deployment.Etag;
                await responseStream.WriteAsync(new WatchDeploymentResponse { Deployment = deployment }, context.CancellationToken);
            }

            await watcher.WaitAsync(context.CancellationToken);
        }
    }

    private static string ModelOf(string project, string model, List<Violation> violations)
    {
        // A full name or only its last segment, as a deployment file has it.
        if (ResourceNames.TryRead(model, "models") is { } name)
        {
            if (name.Project != project)
            {
                violations.Add(new Violation("deployment.model", $"Expected a model of project {project}, found '{model}'."));
            }

            return name.Id;
        }

        if (!ResourceId.IsValid(model))
        {
            violations.Add(new Violation("deployment.model", $"Expected projects/{project}/models/{{model}} or a model's name, found '{model}'."));
        }

        return model;
    }

    private static DeploymentSpec? SpecOf(Deployment? deployment, string model, List<Violation> violations)
    {
        var sections = new DeploySpec
        {
            DeploymentConfig = deployment?.DeploymentConfig,
            EngineConfig = deployment?.EngineConfig,
            ScalingConfig = deployment?.ScalingConfig,
        };
        switch (DeploymentSpecReader.ReadSections(JobMessages.JsonOf(sections), model))
        {
            case Validated<DeploymentSpec>.Valid valid:
                return valid.Value;
            case Validated<DeploymentSpec>.Invalid invalid:
                violations.AddRange(invalid.Violations.Select(violation => violation with { Field = $"deployment.{violation.Field}" }));
                return null;
            default:
                throw new InvalidOperationException("Expected a valid or an invalid deployment.");
        }
    }

    /// <summary>The same deployment again: nothing, or the step to a newer version of its model.</summary>
    private static DeploymentState Redeploy(ControlContext control, DeploymentState known, DeploymentSpec spec, ModelRow row, DeploymentCompanions companions)
    {
        if (known.Deleting)
        {
            throw new AlreadyExistsException(ResourceNames.Deployment(known.Project, known.Id), $"{known.Id} is being deleted; try again when it is gone.");
        }

        if (!SameSettings(WithoutAdapters(known.Spec), WithoutAdapters(spec)))
        {
            throw new AlreadyExistsException(ResourceNames.Deployment(known.Project, known.Id), $"{known.Id} exists with other settings; update or delete it.");
        }

        if (!Same(known, spec, companions))
        {
            RequireFreeNames(control, known.Project, known.Id, spec);
            known = known.With(spec, companions.Adapters);
            control.Plane.PutDeployment(known);
        }

        if (row.Version > known.ModelVersion)
        {
            control.Plane.PutDeployment(known.At(row.Version, row.Directory, row.ContextLength));
        }

        return known;
    }

    private static DeploymentSpec WithoutAdapters(DeploymentSpec spec) => spec with { Engine = spec.Engine with { Lora = null } };

    private static bool Same(DeploymentState known, DeploymentSpec spec, DeploymentCompanions companions) =>
        SameSettings(known.Spec, spec) && known.Adapters.SequenceEqual(companions.Adapters);

    /// <summary>An adapter is a model name of its own, so it must not be another one's.</summary>
    private static void RequireFreeNames(ControlContext control, string project, string id, DeploymentSpec spec)
    {
        var others = control.Plane.Deployments.Where(other => other.Project == project && other.Id != id).ToList();
        var violations = new List<Violation>();
        if (others.FirstOrDefault(other => other.Adapters.Any(adapter => adapter.Name == id)) is { } holder)
        {
            violations.Add(new Violation("deployment_id", $"'{id}' is an adapter of the deployment {holder.Id}."));
        }

        foreach (var (adapter, i) in (spec.Engine.Lora?.Adapters ?? []).Select((adapter, i) => (adapter, i)))
        {
            if (adapter.Name == id || others.Any(other => other.Id == adapter.Name || other.Adapters.Any(taken => taken.Name == adapter.Name)))
            {
                violations.Add(new Violation($"deployment.engine_config.lora.adapters[{i}].name", $"'{adapter.Name}' is the name of a deployment or of another one's adapter."));
            }
        }

        if (violations.Count > 0)
        {
            throw new InvalidRequestException(violations);
        }
    }

    private async Task<DeploymentCompanions> CompanionsAsync(string project, DeploymentSpec spec, ModelRow row, CancellationToken cancellationToken)
    {
        var violations = new List<Violation>();
        var companions = await DeploymentCompanions.FindAsync(
            name => registry.FindAsync(project, name, cancellationToken), artifacts, project, spec, row, violations);
        return violations.Count == 0
            ? companions
            : throw new InvalidRequestException([.. violations.Select(violation => violation with { Field = $"deployment.{violation.Field}" })]);
    }

    /// <summary>A deployment's settings with the adapters of a request.</summary>
    private async Task<(DeploymentSpec Spec, DeploymentCompanions Companions)?> AdaptedAsync(
        string project, string id, Deployment asked, CancellationToken cancellationToken)
    {
        var known = await loop.RunAsync(control => Require(control, project, id), cancellationToken);
        var violations = new List<Violation>();
        var read = SpecOf(new Deployment { EngineConfig = new EngineConfig { Lora = asked.EngineConfig?.Lora } }, known.Spec.Model, violations);
        if (read is null)
        {
            throw new InvalidRequestException(violations);
        }

        var spec = known.Spec with { Engine = known.Spec.Engine with { Lora = read.Engine.Lora } };
        var row = await registry.FindAsync(project, known.Spec.Model, cancellationToken)
            ?? throw new FailedPreconditionException("MODEL_UNKNOWN", $"There is no {ResourceNames.Model(project, known.Spec.Model)} any more.");
        return (spec, await CompanionsAsync(project, spec, row, cancellationToken));
    }

    private static bool SameSettings(DeploymentSpec a, DeploymentSpec b) =>
        DeploymentSpecWriter.ToJson(a).ToJsonString() == DeploymentSpecWriter.ToJson(b).ToJsonString();

    private static DeploymentState Require(ControlContext control, string project, string id) =>
        control.Plane.FindDeployment($"{project}/{id}") ?? throw new NotFoundException(ResourceNames.Deployment(project, id));

    private Task<Deployment> ReadAsync(string project, string id, CancellationToken cancellationToken) =>
        loop.RunAsync(control => DeploymentMessages.Of(Require(control, project, id), control.Plane.Replicas), cancellationToken);
}
