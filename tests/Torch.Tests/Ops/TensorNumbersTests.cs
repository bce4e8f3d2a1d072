using System.Collections.Immutable;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using Xunit;
using static TorchSharp.torch;

namespace Platform.Torch.Tests.Operators;

/// <summary>Numbers passed to libtorch stay where they are until the call is over.</summary>
public sealed class TensorNumbersTests
{
    /// <summary>TorchSharp's overloads that make a number of their own: the sum without a factor.</summary>
    private static readonly string[] OverloadsThatMakeNumbers = ["add", "add_", "op_Addition", "addcdiv", "addcdiv_"];

    [Fact]
    public void Each_operation_does_what_its_name_says()
    {
        using var scope = NewDisposeScope();
        var x = tensor(new[] { 1.0, -2.0, 4.0 });
        var y = tensor(new[] { 3.0, 5.0, 7.0 });
        Assert.Equal([2.0, -4.0, 8.0], Values(x.clone().MultiplyInPlace(2)));
        Assert.Equal([1.5, -1.5, 4.5], Values(x.clone().AddInPlace(0.5)));
        Assert.Equal([4.0, 3.0, 11.0], Values(x.clone().AddInPlace(y)));
        Assert.Equal([-5.0, -12.0, -10.0], Values(x.clone().AddInPlace(y, -2)));
        Assert.Equal([-2.0, 8.0, -24.0], Values(x.clone().AddProductInPlace(x, y, -1)));
        Assert.Equal([4.0, 3.0, 11.0], Values(x.Plus(y)));
        Assert.Equal([-1.0, -4.0, 2.0], Values(x.Minus(2)));
        Assert.Equal([3.0, -6.0, 12.0], Values(x.Times(3)));
        Assert.Equal([8.0, -4.0, 2.0], Values(x.Under(8)));
        Assert.Equal([1.0, 0.0, 1.0], Values(x.IsAtLeast(1)));
        Assert.Equal([0.0, 1.0, 0.0], Values(x.IsBelow(1)));
        var table = zeros([3, 1], dtype: float64);
        table.AddRowsInPlace(tensor(new[] { 2L, 0L, 2L }), y.view(3, 1));
        Assert.Equal([5.0, 0.0, 10.0], Values(table));
        Assert.Equal([double.NegativeInfinity, double.NegativeInfinity], Values(TensorNumbers.Filled([2], double.NegativeInfinity, float64)));
    }

    [Fact]
    public void Numbers_survive_a_collector_that_runs_all_the_time()
    {
        using var stop = new CancellationTokenSource();
        var collector = new Thread(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                GC.Collect(0, GCCollectionMode.Forced, blocking: true);
                GC.WaitForPendingFinalizers();
            }
        });
        collector.Start();
        try
        {
            using var scope = NewDisposeScope();
            var sum = zeros([1], dtype: float64);
            for (var i = 1; i <= 20_000; i++)
            {
                using var inner = NewDisposeScope();
                sum.MultiplyInPlace(0.5).AddInPlace(2 * i).AddInPlace(sum, -0.5);
                Assert.Equal(1.0, sum.Times(1.0).IsAtLeast(0).to_type(float64).item<double>());
            }

            double expected = 0;
            for (var i = 1; i <= 20_000; i++)
            {
                expected = (expected * 0.5) + (2 * i);
                expected -= 0.5 * expected;
            }

            Assert.Equal(expected, sum.item<double>(), 1e-9 * expected);
        }
        finally
        {
            stop.Cancel();
            collector.Join();
        }
    }

    [Fact]
    public void The_library_makes_numbers_nowhere_else()
    {
        using var file = File.OpenRead(typeof(TensorNumbers).Assembly.Location);
        using var image = new PEReader(file);
        var metadata = image.GetMetadataReader();
        var calls = metadata.MemberReferences.Select(metadata.GetMemberReference)
            .Where(member => member is { Parent.Kind: HandleKind.TypeReference } && member.GetKind() == MemberReferenceKind.Method)
            .Select(member => (Type: TypeOf(metadata, member), Name: metadata.GetString(member.Name),
                Parameters: member.DecodeMethodSignature(new TypeNames(), null).ParameterTypes))
            .ToList();
        Assert.Contains(calls, call => call is { Type: "Tensor", Name: "mul_" });

        Assert.DoesNotContain(calls, call => call is { Type: "Scalar", Name: "op_Implicit" });
        Assert.DoesNotContain(calls, call => call.Type == "Tensor" && call.Name.StartsWith("op_", StringComparison.Ordinal) && call.Parameters.Any(type => type != "Tensor"));
        Assert.DoesNotContain(
            calls, call => call.Type == "Tensor" && OverloadsThatMakeNumbers.Contains(call.Name)
                && (call.Parameters.Length == 1 || call.Parameters.All(type => type == "Tensor")));
    }

    private static double[] Values(Tensor tensor)
    {
        using var wide = tensor.to_type(float64);
        return wide.data<double>().ToArray();
    }

    private static string TypeOf(MetadataReader metadata, MemberReference member) =>
        metadata.GetString(metadata.GetTypeReference((TypeReferenceHandle)member.Parent).Name);

    /// <summary>Names of the types in a signature, as far as they matter here.</summary>
    private sealed class TypeNames : ISignatureTypeProvider<string, object?>
    {
        public string GetPrimitiveType(PrimitiveTypeCode typeCode) => typeCode.ToString();

        public string GetTypeFromDefinition(MetadataReader reader, TypeDefinitionHandle handle, byte rawTypeKind) =>
            reader.GetString(reader.GetTypeDefinition(handle).Name);

        public string GetTypeFromReference(MetadataReader reader, TypeReferenceHandle handle, byte rawTypeKind) =>
            reader.GetString(reader.GetTypeReference(handle).Name);

        public string GetTypeFromSpecification(MetadataReader reader, object? genericContext, TypeSpecificationHandle handle, byte rawTypeKind) => "";

        public string GetSZArrayType(string elementType) => $"{elementType}[]";

        public string GetArrayType(string elementType, ArrayShape shape) => $"{elementType}[,]";

        public string GetByReferenceType(string elementType) => $"{elementType}&";

        public string GetPointerType(string elementType) => $"{elementType}*";

        public string GetPinnedType(string elementType) => elementType;

        public string GetModifiedType(string modifier, string unmodifiedType, bool isRequired) => unmodifiedType;

        public string GetGenericInstantiation(string genericType, ImmutableArray<string> typeArguments) => genericType;

        public string GetGenericMethodParameter(object? genericContext, int index) => $"!!{index}";

        public string GetGenericTypeParameter(object? genericContext, int index) => $"!{index}";

        public string GetFunctionPointerType(MethodSignature<string> signature) => "*";
    }
}
