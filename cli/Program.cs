using System.Runtime.InteropServices;
using Platform.Cli;

using var interruption = new CancellationTokenSource();

// The first Ctrl-C lets a command say what it leaves behind; a second one ends the program at once.
void Interrupt(PosixSignalContext signal)
{
    signal.Cancel = !interruption.IsCancellationRequested;
    interruption.Cancel();
}

using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Interrupt);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Interrupt);
return await CommandTree.RunAsync(args, Terminal.OfProcess(), interruption.Token);
