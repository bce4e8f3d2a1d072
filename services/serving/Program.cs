using Platform.Serving;

return await ServingApplication.RunAsync(args);
