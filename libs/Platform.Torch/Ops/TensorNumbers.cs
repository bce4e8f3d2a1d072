using TorchSharp;
using ScalarType = TorchSharp.torch.ScalarType;
using Tensor = TorchSharp.torch.Tensor;

namespace Platform.Torch;

/// <summary>
/// Arithmetic of tensors with numbers. TorchSharp passes a number as an object with native memory, of which generated code
/// keeps no reference while the native call runs: made for the call alone, by a conversion or an operator, it can be finalised
/// under the call, which then reads freed memory. Here each number lives until its call is over. A test keeps the conversions
/// out of this library.
/// </summary>
public static class TensorNumbers
{
    /// <summary>Multiplies each element, in place.</summary>
    /// <returns>The tensor itself.</returns>
    public static Tensor MultiplyInPlace(this Tensor tensor, double factor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        using var number = factor.ToScalar();
        return tensor.mul_(number);
    }

    /// <summary>Adds a number to each element, in place.</summary>
    /// <returns>The tensor itself.</returns>
    public static Tensor AddInPlace(this Tensor tensor, double summand)
    {
        // Not the overload without a factor, which makes one of its own.
        ArgumentNullException.ThrowIfNull(tensor);
        using var number = summand.ToScalar();
        using var one = 1L.ToScalar();
        return tensor.add_(number, one);
    }

    /// <summary>Adds a tensor, in place.</summary>
    /// <returns>The tensor itself.</returns>
    public static Tensor AddInPlace(this Tensor tensor, Tensor summand)
    {
        // Not the overload without a factor, which makes one of its own.
        ArgumentNullException.ThrowIfNull(tensor);
        using var one = 1L.ToScalar();
        return tensor.add_(summand, one);
    }

    /// <summary>Adds a multiple of a tensor, in place: <c>tensor + factor · summand</c>.</summary>
    /// <returns>The tensor itself.</returns>
    public static Tensor AddInPlace(this Tensor tensor, Tensor summand, double factor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        using var number = factor.ToScalar();
        return tensor.add_(summand, number);
    }

    /// <summary>Adds a multiple of a product, element by element, in place: <c>tensor + factor · left · right</c>.</summary>
    /// <returns>The tensor itself.</returns>
    public static Tensor AddProductInPlace(this Tensor tensor, Tensor left, Tensor right, long factor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        using var number = factor.ToScalar();
        return tensor.addcmul_(left, right, number);
    }

    /// <summary>The sum of two tensors.</summary>
    public static Tensor Plus(this Tensor left, Tensor right)
    {
        ArgumentNullException.ThrowIfNull(left);
        using var one = 1L.ToScalar();
        return left.add(right, one);
    }

    /// <summary>The elements minus a whole number.</summary>
    public static Tensor Minus(this Tensor tensor, long subtrahend)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        using var number = subtrahend.ToScalar();
        return tensor.sub(number);
    }

    /// <summary>The elements times a number.</summary>
    public static Tensor Times(this Tensor tensor, double factor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        using var number = factor.ToScalar();
        return tensor.mul(number);
    }

    /// <summary>A number over each element.</summary>
    public static Tensor Under(this Tensor divisor, double dividend)
    {
        ArgumentNullException.ThrowIfNull(divisor);
        using var inverse = divisor.reciprocal();
        return inverse.Times(dividend);
    }

    /// <summary>Where elements are a whole number or more.</summary>
    public static Tensor IsAtLeast(this Tensor tensor, long bound)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        using var number = bound.ToScalar();
        return tensor.ge(number);
    }

    /// <summary>Where elements are less than a whole number.</summary>
    public static Tensor IsBelow(this Tensor tensor, long bound)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        using var number = bound.ToScalar();
        return tensor.lt(number);
    }

    /// <summary>Adds rows of a source to rows of a table, in place.</summary>
    /// <param name="table">[V, E], changed.</param>
    /// <param name="rows">Int64 [N], the row of the table for each row of the source.</param>
    /// <param name="source">[N, E].</param>
    public static void AddRowsInPlace(this Tensor table, Tensor rows, Tensor source)
    {
        ArgumentNullException.ThrowIfNull(table);
        using var one = 1L.ToScalar();
        table.index_add_(0, rows, source, one);
    }

    /// <summary>A new tensor of one value.</summary>
    public static Tensor Filled(ReadOnlySpan<long> shape, double value, ScalarType type, torch.Device? device = null)
    {
        using var number = value.ToScalar();
        return torch.full(shape.ToArray(), number, dtype: type, device: device);
    }
}
