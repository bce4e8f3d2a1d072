using Platform.Standalone;

return await StandaloneProgram.RunAsync(args);
