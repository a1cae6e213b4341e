--- What is read from the source of kernels: their names, and the types of their parameters.
local signatures = require 'farside.cuda.signature'

--- The parameters of one kernel as 'kind type name', from their text.
local function read(parameters)
  local signature = assert(signatures.read(('extern "C" __global__ void k(%s) {}'):format(parameters)))
  local found = {}
  for i, parameter in ipairs(signature.by_name.k.parameters) do
    found[i] = ('%s %s %s'):format(parameter.kind, parameter.type and parameter.type.name or '-', parameter.name or '-')
  end
  return found
end

local function names_of(source)
  local signature, problem = signatures.read(source)
  assert(signature, problem)
  local names = {}
  for i, kernel in ipairs(signature.kernels) do names[i] = ('%s:%d'):format(kernel.name, kernel.line) end
  return names
end

describe('the parameters of a kernel', function()
  for _, case in ipairs {
    { '', {} },
    { 'void', {} },
    { ' \n ', {} },
    { 'float x', { 'scalar float x' } },
    { 'const double x', { 'scalar double x' } },
    { 'double const x', { 'scalar double x' } },
    { 'unsigned', { 'scalar unsigned int -' } },
    { 'int, float', { 'scalar int -', 'scalar float -' } },
    { 'short int a, int short unsigned b', { 'scalar short a', 'scalar unsigned short b' } },
    { 'long a, long int b, long unsigned c', { 'scalar long a', 'scalar long b', 'scalar unsigned long c' } },
    { 'long long a, unsigned long long int b, long unsigned long c',
      { 'scalar long long a', 'scalar unsigned long long b', 'scalar unsigned long long c' } },
    { 'char a, signed char b, unsigned char c', { 'scalar char a', 'scalar signed char b', 'scalar unsigned char c' } },
    { 'int8_t a, uint16_t b, std::int32_t c, ::uint64_t d',
      { 'scalar int8_t a', 'scalar uint16_t b', 'scalar int32_t c', 'scalar uint64_t d' } },
    { 'size_t n, std::size_t m, ptrdiff_t d', { 'scalar size_t n', 'scalar size_t m', 'scalar ptrdiff_t d' } },
    { 'bool b, __half h, half g, __nv_bfloat16 f',
      { 'scalar bool b', 'scalar __half h', 'scalar half g', 'scalar __nv_bfloat16 f' } },
    { 'float *x', { 'pointer float x' } },
    { 'float*x, float* y , float * z', { 'pointer float x', 'pointer float y', 'pointer float z' } },
    { 'const float *__restrict__ x, float const *const __restrict y', { 'pointer float x', 'pointer float y' } },
    { 'volatile int *x', { 'pointer int x' } },
    { 'void *p, const void *q', { 'pointer - p', 'pointer - q' } },
    { 'float x[], const int y[16]', { 'pointer float x', 'pointer int y' } },
    { 'float []', { 'pointer float -' } },
    { 'const float4 *x, uchar4 *y, __half2 *z', { 'pointer float4 x', 'pointer uchar4 y', 'pointer __half2 z' } },
    { 'float4 x', { 'other - x' } },
    { 'int n = 3, float x = f(1, 2), int *p = nullptr', { 'scalar int n', 'scalar float x', 'pointer int p' } },
    { "int n = 1'000, int m", { 'scalar int n', 'scalar int m' } },
    { 'float **x, float *x[4], float (*y)[4], float z[2][2]', { 'other - x', 'other - x', 'other - y', 'other - z' } },
    { 'float &x, float &&y', { 'other - x', 'other - y' } },
    { 'void (*f)(int, float), int n', { 'other - f', 'scalar int n' } },
    { 'struct point p, struct point *q, enum color c', { 'other - p', 'other - q', 'other - c' } },
    { 'point p, const point *q', { 'other - p', 'other - q' } },
    { 'span<float, 2> s, a::b<c<int>> t, std::array<int, 3> *u', { 'other - s', 'other - t', 'other - u' } },
    { '__grid_constant__ const parameters p', { 'other - p' } },
    { '__align__(16) float *x, [[maybe_unused]] int n', { 'pointer float x', 'scalar int n' } },
    { 'long double x', { 'other - x' } },
    { 'float /* , int n */ x // , int m\n, int k', { 'scalar float x', 'scalar int k' } },
    { 'float\n*\nx', { 'pointer float x' } },
    { 'int ...', { 'other - -' } },
  } do
    it(('are read from (%s)'):format(case[1]:gsub('\n', ' ')), function()
      assert.same(case[2], read(case[1]))
    end)
  end

  it('are shown as they are written', function()
    local signature = signatures.read 'extern "C" __global__ void k(const\n float  *x /* in */,int n){}'
    assert.equal('(const float *x ,int n)', signature.by_name.k.text)
    assert.equal('const float *x', signature.by_name.k.parameters[1].text)
  end)
end)

describe('the kernels of a source', function()
  it('are those declared extern "C", each by itself or in a block', function()
    assert.same({ 'a:1', 'b:4', 'c:6', 'd:7' }, names_of [[
extern "C" __global__ void a(int n) { if (n) { } }
extern "C" {
int helper(int);
__global__ void b(float *x) { }
  namespace inner {
    __global__ void c() { }
  } __global__ void d() { }
}
__global__ void e() { }
template <class T> __global__ void f(T x) { }
]])
  end)

  it('may have attributes before and behind the type', function()
    assert.same({ 'a:1', 'b:2', 'c:3', 'd:4' }, names_of [[
extern "C" __global__ void __launch_bounds__(256, 2) a(int n) {}
extern "C" __global__ __launch_bounds__(N * (2 + 1)) void b() {}
extern "C" __attribute__((cold)) void __global__ c() {}
extern "C" [[maybe_unused] ] __global__ void d() noexcept {}
]])
  end)

  it('are not found in comments, literals and lines for the preprocessor', function()
    assert.same({ 'real:10' }, names_of [[
// extern "C" __global__ void a() {}
/* extern "C" __global__ void b() {}
   " */
#define KERNEL extern "C" __global__ void c() {} \
  extern "C" __global__ void d() {}
const char *s = "extern \"C\" __global__ void e() {}", q = '"', r = '\'';
const char *t = R"x(" extern "C" __global__ void f() {} )x";
// a comment that goes on \
extern "C" __global__ void g() {}
extern "C" __global__ void real() {}
]])
  end)

  it('end where their bodies do', function()
    local source = [[
extern "C" __global__ void a() { const char *s = "}"; /* } */ for (;;) { '}'; } } // }
extern "C" __global__ void b() {}]]
    local signature = signatures.read(source)
    assert.equal(' } // }', source:sub(signature.kernels[1].body_end - 1):match '^[^\n]*')
    assert.equal(#source, signature.kernels[2].body_end)
  end)

  it('are not those that are only declared', function()
    assert.same({ 'a:2' }, names_of 'extern "C" __global__ void a(int n);\nextern "C" __global__ void a(int n) {}')
  end)

  it('may stand in both branches of an #if, with the same parameters', function()
    local source = [[
#ifdef FAST
extern "C" __global__ void a(int n) {}
#else
extern "C" __global__ void a(%s) {}
#endif]]
    assert.same({ 'a:2', 'a:4' }, names_of(source:format 'int n'))
    local _, problem = signatures.read(source:format 'float n')
    assert.equal('kernel a is defined in line 2 as (int n) and in line 4 as (float n): expected one list of parameters, since '
      .. 'the source is read before its #if', problem)
  end)

  it('say what is missing where there is none to be called by its name', function()
    for source, expected in pairs {
      [''] = 'expected at least one kernel, extern "C" __global__ void name(...) { ... }, got none',
      ['int f() {}'] = 'expected at least one kernel, extern "C" __global__ void name(...) { ... }, got none',
      ['\n__global__ void f() {}'] =
        'line 2: kernel f is known by its name if it is declared extern "C": write extern "C" __global__ void f(...)',
      ['template <int N> __global__ void f() {}'] = 'line 1: kernel f is a template, which has no name to launch it by: '
        .. 'write extern "C" __global__ functions that call it',
    } do
      local signature, problem = signatures.read(source)
      assert.same({ nil, expected }, { signature, problem })
    end
  end)

  it('have no other type than void', function()
    assert.same({ nil, 'line 2: kernel k: expected the type void' }, { signatures.read '\nextern "C" __global__ int k() {}' })
  end)

  it('come to an end in any text', function()
    local source = [[extern "C" { __global__ void a(float *x[3], int (*f)(int), s<1, 2> t = {'"', R"(x)"}) { /* } */ }
      // \
      extern __shared__ float s[]; } #define x " ]]
    for from = 1, #source, 3 do
      for to = from, #source do signatures.read(source:sub(from, to)) end
    end
  end)
end)

describe('dynamic shared memory', function()
  local function arrays_of(source)
    local found = {}
    for i, array in ipairs(signatures.read(source .. ' extern "C" __global__ void k() {}').arrays) do
      found[i] = ('%s %s %s'):format(array.type, array.name, array.inside and 'inside' or 'outside')
    end
    return found
  end

  it('is found in functions and outside of them', function()
    assert.same({ 'float s outside', 'unsigned char t inside', 'int u outside' }, arrays_of [[
      extern __shared__ float s[];
      extern "C" __global__ void a() { extern __shared__ __align__(16) unsigned char t[]; }
      extern "C" { extern __shared__ int u [ ] ; }]])
  end)

  it('is told from arrays of a fixed size, and from what is no code', function()
    assert.same({}, arrays_of [[
      extern "C" __global__ void a() { __shared__ float s[32]; __shared__ int n; }
      // extern __shared__ float t[];]])
  end)

  it('is used by kernels that declare or name it, or what does so', function()
    local signature = signatures.read [[
      extern __shared__ double outside[];
      template <class T> struct Shared { __device__ operator T *() { extern __shared__ int inside[]; return (T *)inside; } };
      namespace { template <class T> __device__ __forceinline__ T sum(T x) { outside[0] = x; return outside[0]; } }
      static __device__ int helps(int x) { return sum(x); }
      extern "C" {
        __global__ void __launch_bounds__(256) declares(int n) { if (n) { extern __shared__ float mine[]; mine[0] = n; } }
        __global__ void names() { outside[1] = 2; }
        __global__ void calls() { helps(1); }
        __global__ void makes() { int *s = Shared<int>(); }
        __global__ void none(int outsider) { int mine[3] = { 1, 2, 3 }; /* outside */ }
      }
      #if A
      extern "C" __global__ void sometimes() { outside[0] = 1; }
      #else
      extern "C" __global__ void sometimes() {}
      #endif]]
    local found = {}
    for name, kernel in pairs(signature.by_name) do
      found[#found + 1] = ('%s %s'):format(name, kernel.array and ('%s:%d'):format(kernel.array.name, kernel.array.line) or '-')
    end
    table.sort(found)
    assert.same({ 'calls outside:1', 'declares mine:6', 'makes inside:2', 'names outside:1', 'none -', 'sometimes -' },
      found)
  end)
end)
