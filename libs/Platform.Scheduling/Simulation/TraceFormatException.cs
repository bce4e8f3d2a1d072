namespace Platform.Scheduling.Simulation;

/// <summary>A trace cannot be read; the message names the line and what was expected.</summary>
/// <param name="message">What is wrong.</param>
public sealed class TraceFormatException(string message) : Exception(message);
