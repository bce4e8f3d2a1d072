namespace Platform.Cli.Output;

/// <summary>Columns of text, each as wide as it needs, two spaces apart: the same on a screen and in a pipe.</summary>
internal sealed class TextTable(params string[] headers)
{
    private readonly List<string[]> _rows = [];

    /// <summary>Adds a row with one cell per header; an empty one shows as a dash, so that columns can be counted.</summary>
    public void Add(params string[] cells)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(cells.Length, headers.Length);
        _rows.Add([.. cells.Select(cell => cell.Length == 0 ? "-" : cell)]);
    }

    /// <summary>Writes the headers and the rows, or a remark when there are none.</summary>
    public void Write(TextWriter output, string whenEmpty)
    {
        if (_rows.Count == 0)
        {
            output.WriteLine(whenEmpty);
            return;
        }

        var all = _rows.Prepend(headers).ToList();
        var widths = Enumerable.Range(0, headers.Length).Select(column => all.Max(row => row[column].Length)).ToList();
        foreach (var row in all)
            output.WriteLine(string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
    }
}
