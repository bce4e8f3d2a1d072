using System.Security.Cryptography;

namespace Platform.Scheduler.Core;

/// <summary>Ids of jobs: the name and six characters that make it unique.</summary>
internal static class JobIds
{
    private const string Alphabet = "abcdefghijklmnopqrstuvwxyz234567";

    public static string New(string name) => $"{name}-{RandomNumberGenerator.GetString(Alphabet, 6)}";
}
