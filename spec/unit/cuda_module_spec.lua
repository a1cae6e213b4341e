--- Users' own kernels where there is no GPU: what is checked before a launch, and what the processor makes of the source.
local Folder = require 'spec.support.folder'
local backends = require 'farside.tensor.backend'
local cache = require 'farside.cuda.cache'
local cuda = require 'farside.cuda'
local diagnostics = require 'farside.cuda.diagnostics'
local ffi = require 'ffi'
local libraries = require 'farside.cuda.library'
local storages = require 'farside.tensor.storage'
local tensor = require 'farside.tensor'

local DEVICE = 'cuda:7'  -- the processor's library under another name

local SOURCE = [[
struct pair { int a; double b; };

extern "C" __global__ void saxpy(float *y, float a, const float *__restrict__ x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}

// Where each thread of a grid of three dimensions is.
extern "C" __global__ void places(int32_t *out) {
  int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = 1000 * block + thread;
}

extern __shared__ double outside[];

// The sum of each block, by way of dynamic shared memory.
extern "C" __global__ void __launch_bounds__(256) sums(float *out, const float *x, int n) {
  extern __shared__ float partial[];
  __shared__ int called;
  unsigned i = blockIdx.x * blockDim.x + threadIdx.x, t = threadIdx.x;
  if (t == 0) called = 0;
  partial[t] = i < n ? x[i] : 0;
  __syncthreads();
  atomicAdd(&called, 1);
  for (unsigned k = blockDim.x / 2; k > 0; k /= 2) {
    if (t < k) partial[t] += partial[t + k];
    __syncthreads();
  }
  if (t == 0 && called == blockDim.x) out[blockIdx.x] = partial[0];
}

extern "C" __global__ void warp_sums(float *out) {
  float x = threadIdx.x;
  for (int k = 16; k > 0; k /= 2) x += __shfl_xor_sync(0xffffffff, x, k);
  outside[threadIdx.x] = x;
  out[threadIdx.x] = outside[threadIdx.x];
}

// How many threads of each block are odd or over a bound.
extern "C" __global__ void votes(int *out, int bound) {
  int odd = __syncthreads_count(threadIdx.x & 1), over = __syncthreads_count(threadIdx.x >= bound);
  int any = __syncthreads_or(threadIdx.x >= bound), all = __syncthreads_and(threadIdx.x < bound);
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = 1000 * odd + 10 * over + 2 * any + all;
}

extern "C" __global__ void values(double *out, char a, unsigned char b, short c, unsigned d, long long e,
                                  unsigned long long f, float g, double h, bool i, size_t j) {
  out[0] = a; out[1] = b; out[2] = c; out[3] = d; out[4] = e;
  out[5] = f; out[6] = g; out[7] = h; out[8] = i; out[9] = j;
}

extern "C" __global__ void structs(double *out, pair p, const float4 *v) {
  out[0] = p.a + p.b;
  float4 w = v[threadIdx.x];
  out[1] = w.x + 10 * w.y + 100 * w.z + 1000 * w.w;
}

// What a usual kernel calls.
extern "C" __global__ void functions(double *out, const float *x, unsigned *counter) {
  out[0] = min(3, 4) + max(2.5f, 1.0f) + fminf(1, 2) + __ldg(x + 1);
  out[1] = rsqrtf(4) + __expf(0) + __fdividef(1, 4) + __saturatef(7);
  out[2] = __popc(255) + __clz(1) + __ffs(8) + __float2int_rn(2.5f) + __float2int_rz(-3.7f);
  out[3] = __uint_as_float(__float_as_uint(1.5f)) + __umulhi(1u << 31, 4) + __brev(1) / 2147483648.0;
  out[4] = make_float2(1, 2).y + make_int3(1, 2, 3).z + make_uchar4(1, 2, 3, 4).w;
  atomicInc(counter, 1); atomicSub(counter + 1, 2u); atomicXor(counter + 2, 5u); atomicMax(counter + 3, 9u);
  out[5] = __float2int_rn(1e20f) == INT_MAX && isnan(NAN) && __float2uint_rz(-1.0f) == 0;
}

extern "C" __global__ void nothing() {}

#ifdef SPECIAL
extern "C" __global__ void special(double *out) { *out = SPECIAL; }
#endif
]]

describe("a module of a user's kernels", function()
  local folder, library, stderr, written
  local mod = cuda.module(SOURCE)

  -- What is said on stderr is kept: it is said once in a process.
  setup(function()
    folder = Folder.new()
    library = assert(libraries.open 'cpu')
    backends.put(DEVICE, library)
    stderr, written = io.stderr, {}
    rawset(io, 'stderr', { write = function(_, text) written[#written + 1] = text end })
    mod.nothing { grid = 1, block = 1 } ()
  end)

  teardown(function()
    rawset(io, 'stderr', stderr)
    collectgarbage()
    storages.forget(DEVICE)
    backends.put(DEVICE, nil)
    folder:close()
  end)

  local function says(expected, func, ...)
    local ok, problem = pcall(func, ...)
    assert.is_false(ok)
    assert.equal(expected, (problem:gsub('^%S-cuda_module_spec%.lua:%d+: ', '')))
  end

  it('says once that it runs on the processor', function()
    cuda.module(SOURCE).nothing { grid = 1, block = 1 } ()
    assert.equal(1, #written)
    assert.truthy(written[1]:find('^farside: no GPU: user kernels are compiled for the processor by %S+; for development only\n$'))
  end)

  for _, device in ipairs { 'cpu', DEVICE } do
    it('computes with tensors on ' .. device, function()
      for _, n in ipairs { 0, 1, 255, 256, 1009 } do
        local x, y = tensor.arange(1, n, 1, 'f32', device), tensor.ones({ n }, 'f32', device)
        mod.saxpy { grid = math.max(math.ceil(n / 256), 1), block = 256 } (y, 2, x, n)
        local expected = {}
        for i = 1, n do expected[i] = 2 * i + 1 end
        assert.same(expected, y:table())
      end
    end)
  end

  it('launches grids and blocks of up to three dimensions', function()
    local out = tensor.zeros({ 24 * 30 }, 'i32')
    mod.places { grid = { 2, 3, 4 }, block = { 5, 3, 2 } } (out)
    for i = 1, 24 * 30 do assert.equal(1000 * math.floor((i - 1) / 30) + (i - 1) % 30, out[i]) end
    out:fill(-1)
    mod.places { grid = { 3 }, block = { 2, 2 } } (out)
    assert.same({ 0, 1, 2, 3, 1000, 1001, 1002, 1003, 2000, 2001, 2002, 2003, -1 }, out:slice(1, 1, 13):table())
  end)

  it('has shared memory, static and dynamic, and barriers', function()
    local x, out = tensor.ones({ 1000 }), tensor.zeros({ 4 })
    mod.sums { grid = 4, block = 256, shared = 256 * 4 } (out, x, 1000)
    assert.same({ 256, 256, 256, 232 }, out:table())
  end)

  it('has the exchanges of a warp', function()
    local out = tensor.zeros({ 64 })
    mod.warp_sums { grid = 1, block = 64, shared = 64 * 8 } (out)
    assert.same({ 496, 1520 }, { out[32], out[33] })
  end)

  it('counts what the threads of a block say', function()
    for bound, expected in pairs { [100] = 32001, [60] = 32042, [0] = 32642 } do
      local out = tensor.zeros({ 192 }, 'i32')
      mod.votes { grid = 3, block = 64 } (out, bound)
      for i = 1, 192 do assert.equal(expected, out[i]) end
    end
    local out = tensor.zeros({ 1 }, 'i32')
    mod.votes { grid = 1, block = 1 } (out, 0)
    assert.same({ 12 }, out:table())
  end)

  it('passes numbers of all types on as they are', function()
    local out = tensor.zeros({ 10 }, 'f64')
    mod.values { grid = 1, block = 1 } (out, -128, 255, -32768, 2 ^ 32 - 1, -2 ^ 63, 2 ^ 63, 0.1, 0.1, true, 2 ^ 53)
    local single = ffi.new('float', 0.1)
    assert.same({ -128, 255, -32768, 2 ^ 32 - 1, -2 ^ 63, 2 ^ 63, tonumber(single), 0.1, 1, 2 ^ 53 }, out:table())
    mod.values { grid = 1, block = 1 } (out, 1LL, 2ULL, ffi.new('short', 3), 4LL, 5ULL, 6LL, 7LL, 8ULL, false, 9ULL)
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 0, 9 }, out:table())
  end)

  it('passes structs on as cdata, and takes vectors from tensors', function()
    local pair = ffi.new('struct { int a; double b; }', 3, 0.25)
    local out = tensor.zeros({ 2 }, 'f64')
    mod.structs { grid = 1, block = 2 } (out, pair, tensor.arange(1, 8))
    assert.same({ 3.25, 8765 }, out:table())
    local list = ffi.new('struct { int a; double b; } [2]', { { 1, 2 }, { 4, 0.5 } })
    mod.structs { grid = 1, block = 1 } (out, list[1], tensor.arange(1, 8))
    assert.same({ 4.5, 4321 }, out:table())
  end)

  it('takes arrays and pointers for pointers to what it does not know', function()
    local kernels = cuda.module [=[
      struct pair { int a; double b; };
      extern "C" __global__ void f(double **lists, struct pair *pairs, pair *none) {
        lists[1][0] = pairs[0].a + pairs[1].b + (none ? 100 : 0);
      }]=]
    local list = ffi.new 'double[1]'
    local lists, single = ffi.new 'double *[2]', ffi.new('double *[1]', { list })
    lists[1] = list
    local pairs_of = ffi.new('struct { int a; double b; } [2]', { { 1, 2 }, { 4, 0.5 } })
    kernels.f { grid = 1, block = 1 } (lists, pairs_of, require 'farside'.null)
    assert.equal(1.5, list[0])
    kernels.f { grid = 1, block = 1 } (single - 1, ffi.cast('void *', pairs_of), pairs_of[0])
    assert.equal(101.5, list[0])
  end)

  it('knows what CUDA C knows without an #include', function()
    local out, counter = tensor.zeros({ 6 }, 'f64'), tensor.from({ 1, 7, 6, 3 }, 'i32')
    mod.functions { grid = 1, block = 1 } (out, tensor.from { 1, 2 }, counter)
    assert.same({ 8.5, 2.75, 42, 4.5, 9, 1 }, out:table())
    assert.same({ 0, 5, 3, 9 }, counter:table())
  end)

  it('takes FFI pointers, arrays and null for pointers', function()
    local x, y = ffi.new('float[3]', 1, 2, 3), ffi.new('float[3]', 1, 1, 1)
    mod.saxpy { grid = 1, block = 4 } (y, 2, ffi.cast('const float *', x), 3)
    assert.same({ 3, 5, 7 }, { y[0], y[1], y[2] })
    mod.saxpy { grid = 1, block = 4 } (require 'farside'.null, 2, ffi.cast('void *', x), 0)
  end)

  it('may be launched again with what the first launch has named', function()
    local launch, y = mod.saxpy { grid = 1, block = 4 }, tensor.zeros({ 2 })
    for _ = 1, 3 do launch(y, 1, tensor.ones({ 2 }), 2) end
    assert.same({ 3, 3 }, y:table())
  end)

  it('is put on a stream', function()
    local x, y = tensor.ones({ 2 }):to(DEVICE), tensor.ones({ 2 }):to(DEVICE)
    mod.saxpy { grid = 1, block = 4, stream = cuda.stream(DEVICE) } (y, 1, x, 2)
    assert.same({ 2, 2 }, y:table())
    says(('kernel saxpy: stream: expected one of cpu, got one of %s'):format(DEVICE), function()
      mod.saxpy { grid = 1, block = 4, stream = cuda.stream(DEVICE) } (tensor.ones({ 2 }), 1, tensor.ones({ 2 }), 2)
    end)
  end)

  it('names what is in it', function()
    assert.truthy(tostring(mod):find('^kernels of kernel.cu: functions, nothing, places, saxpy, '))
    assert.equal('kernel saxpy(float *y, float a, const float *__restrict__ x, int n)', tostring(mod.saxpy))
  end)

  it('refuses a kernel that it does not have', function()
    says("kernel.cu: there is no kernel 'saxpi'; did you mean 'saxpy'?", function() return mod.saxpi end)
    says('kernel.cu: expected nothing to be written to, got the field the string "saxpy"', function() mod.saxpy = 1 end)
  end)

  it('refuses a kernel that the compiler did not see', function()
    says('kernel special is not among what the compiler has made of kernel.cu: its line 74 is left out by an #if', function()
      mod.special { grid = 1, block = 1 } (tensor.zeros({ 1 }, 'f64'))
    end)
  end)

  it('gives macros and their values to the compiler', function()
    local source = 'extern "C" __global__ void special(double *out) { *out = SPECIAL; }'
    local out = tensor.zeros({ 1 }, 'f64')
    cuda.module(source, { options = { "-DA='c'", '--define-macro=SPECIAL=(A + 1)', '--use_fast_math' } })
      .special { grid = 1, block = 1 } (out)
    assert.equal(100, out[1])
  end)

  it('is compiled anew when a header has changed that it includes', function()
    local function write(name, text)
      local file = assert(io.open(('%s/%s'):format(folder.path, name), 'wb'))
      file:write(text)
      file:close()
    end
    local source = '#include "outer.h"\nextern "C" __global__ void f(double *out) { *out = VALUE; }'
    local options = { options = { '-I' .. folder.path } }
    local function result()
      local out = tensor.zeros({ 1 }, 'f64')
      cuda.module(source, options).f { grid = 1, block = 1 } (out)
      return out[1]
    end
    write('outer.h', '#include <inner.h>\n#define VALUE (INNER + 1)')
    write('inner.h', '#define INNER 1')
    assert.equal(2, result())
    write('inner.h', '#define INNER 10')
    assert.equal(11, result())
    write('outer.h', '#pragma once\n#include <inner.h>\n#define VALUE (INNER + 2)')
    assert.equal(12, result())
  end)

  it('is loaded once, also when it is made in a function', function()
    local source = '__device__ int count; extern "C" __global__ void next(int *out) { *out = ++count; }'
    local out = tensor.zeros({ 1 }, 'i32')
    for _ = 1, 3 do cuda.module(source).next { grid = 1, block = 1 } (out) end
    assert.equal(3, out[1])
  end)

  local x, y = tensor.ones({ 8 }), tensor.ones({ 8 })

  for what, case in pairs {
    ['too few arguments'] = { { y, 1, x },
      'kernel saxpy(float *y, float a, const float *__restrict__ x, int n): expected 4 arguments, got 3' },
    ['too many arguments'] = { { y, 1, x, 8, nil, n = 5 },
      'kernel saxpy(float *y, float a, const float *__restrict__ x, int n): expected 4 arguments, got 5' },
    ['a tensor of another type'] = { { y, 1, x:to 'f64', 8 },
      'kernel saxpy: x (const float *__restrict__ x): expected a tensor of f32, got a tensor of f64' },
    ['a tensor on another device'] = { { y, 1, x:to 'i32', 8, to = DEVICE },
      "kernel saxpy: y (float *y): expected a tensor on cuda:7 (t:to 'cuda:7' copies), got one on cpu" },
    ['a view with gaps'] = { { y, 1, tensor.ones({ 8, 2 }):slice(2, 1, 1), 8 }, 'kernel saxpy: x (const float *__restrict__ x): '
      .. 'expected a tensor whose elements lie in order (t:contiguous() copies), got a view of shape {8, 1}' },
    ['a number for a pointer'] = { { 5, 1, x, 8 }, 'kernel saxpy: y (float *y): expected a tensor of f32, got the number 5' },
    ['nil for a pointer'] = { { nil, 1, x, 8, n = 4 }, 'kernel saxpy: y (float *y): expected a tensor of f32, got nil' },
    ['a pointer to others'] = { { ffi.new 'int[2]', 1, x, 8 },
      'kernel saxpy: y (float *y): expected a tensor of f32, got a cdata of int [2]' },
    ['a tensor for a number'] = { { y, x, x, 8 }, 'kernel saxpy: a (float a): expected a number, got a tensor of f32' },
    ['a text for a number'] = { { y, '1', x, 8 }, 'kernel saxpy: a (float a): expected a number, got the string "1"' },
    ['a fraction for a whole number'] = { { y, 1, x, 1.5 },
      'kernel saxpy: n (int n): expected a whole number from -2147483648 to 2147483647, got the number 1.5' },
    ['a number out of range'] = { { y, 1, x, 2 ^ 31 },
      'kernel saxpy: n (int n): expected a whole number from -2147483648 to 2147483647, got the number 2147483648' },
    ['no number for a whole number'] = { { y, 1, x, 0 / 0 }, 'kernel saxpy: n (int n): expected a whole number from -2147483648 '
      .. 'to 2147483647, got the number ' .. tostring(0 / 0) },
  } do
    it('refuses ' .. what, function()
      local arguments = case[1]
      if arguments.to then arguments[3] = x:to(arguments.to) end
      says(case[2], function() mod.saxpy { grid = 1, block = 8 } (unpack(arguments, 1, arguments.n or #arguments)) end)
    end)
  end

  it('refuses numbers that a type does not hold', function()
    local out, good = tensor.zeros({ 10 }, 'f64'), { -128, 255, -32768, 0, 0, 0, 0, 0, true, 0 }
    for i, case in pairs { [1] = { 128, 'from -128 to 127' }, [2] = { -1, 'from 0 to 255' }, [3] = { 32768, 'from -32768 to 32767' },
      [4] = { -1, 'from 0 to 4294967295' }, [5] = { 2 ^ 63, 'from -2^63 to 2^63 - 1' }, [6] = { -1LL, 'from 0 to 2^64 - 1' },
      [9] = { 1, 'true or false' }, [10] = { 2 ^ 64, 'from 0 to 2^64 - 1' } } do
      local list = { unpack(good) }
      list[i] = case[1]
      local ok, problem = pcall(mod.values { grid = 1, block = 1 }, out, unpack(list))
      assert.is_false(ok)
      assert.truthy(problem:find(case[2], 1, true), problem)
    end
  end)

  it('refuses what is no struct of its size, and vectors that do not fit', function()
    local out, pair = tensor.zeros({ 2 }, 'f64'), ffi.new 'struct { int a; double b; }'
    local launch = mod.structs { grid = 1, block = 1 }
    says('kernel structs: p (pair p): expected a cdata, as ffi.new makes it: its type is not known here, got a table',
      launch, out, {}, x)
    says('kernel structs: p (pair p): expected a cdata of 16 bytes, got a cdata of int of 4', launch, out, ffi.new 'int', x)
    says('kernel structs: v (const float4 *v): expected a multiple of 4 elements, got 7', launch, out, pair, x:slice(1, 1, 7))
    says('kernel structs: v (const float4 *v): expected elements that begin at a multiple of 16 bytes, got a view that begins '
      .. 'elsewhere', launch, out, pair, x:slice(1, 2, 5))
  end)

  for option, case in pairs {
    grid = { 0, 'kernel nothing: grid: expected a whole number from 1 to 2147483647, got the number 0' },
    block = { 1025, 'kernel nothing: block: expected a whole number from 1 to 1024, got the number 1025' },
    shared = { -1, 'kernel nothing: shared: expected a whole number from 0 to 232448, got the number -1' },
    stream = { {}, 'kernel nothing: stream: expected a stream of cuda.stream(), got a table' },
    blok = { 1, "kernel nothing: unknown option 'blok'; did you mean 'block'?" },
  } do
    it('refuses a launch with a wrong ' .. option, function()
      local options = { grid = 1, block = 1 }
      options[option] = case[1]
      says(case[2], mod.nothing, options)
    end)
  end

  it('refuses arguments in the place of the size', function()
    says('kernel saxpy: expected its size before its arguments, { grid = 1, block = 256 } (...), got a tensor', mod.saxpy, x)
    says('kernel saxpy: expected its size before its arguments, { grid = 1, block = 256 } (...), got 4 arguments', mod.saxpy,
      { grid = 1, block = 1 }, 1, x, 8)
  end)

  it('refuses sizes of more dimensions, threads and blocks than there may be', function()
    says('kernel nothing: expected a table of options, got the number 3', mod.nothing, 3)
    says('kernel nothing: grid: expected a whole number from 1 to 2147483647, got nil', mod.nothing, { block = 1 })
    says('kernel nothing: grid.y: expected a whole number from 1 to 65535, got the number 65536', mod.nothing,
      { grid = { 1, 65536 }, block = 1 })
    says('kernel nothing: grid: expected a number or a list of up to three, {x, y, z}, got a key the number 4', mod.nothing,
      { grid = { 1, 1, 1, 1 }, block = 1 })
    says('kernel nothing: block.z: expected a whole number from 1 to 64, got the number 65', mod.nothing,
      { grid = 1, block = { 1, 1, 65 } })
    says('kernel nothing: block: expected at most 1024 threads, got 2048', mod.nothing, { grid = 1, block = { 32, 64 } })
  end)

  it('refuses a launch that does not say how much dynamic shared memory its kernel gets', function()
    local out = tensor.zeros({ 64 })
    local said = 'kernel %s: shared: expected the bytes of %s (extern __shared__ in line %d of kernel.cu), or 0 for a launch that '
      .. 'does not use it, got nil'
    says(said:format('sums', 'float partial[]', 19), mod.sums, { grid = 1, block = 64 })
    says(said:format('warp_sums', 'double outside[]', 15), mod.warp_sums, { grid = 1, block = 64 })
    mod.warp_sums { grid = 1, block = 64, shared = 64 * 8 } (out)
    mod.nothing { grid = 1, block = 64 } ()
    local either = cuda.module [=[
      extern "C" __global__ void either(float *out, int n) {
        extern __shared__ float s[];
        if (n > 0) s[threadIdx.x] = n;
        out[threadIdx.x] = n > 0 ? s[threadIdx.x] : -1;
      }]=]
    either.either { grid = 1, block = 2, shared = 0 } (out, 0)
    assert.same({ -1, -1 }, { out[1], out[2] })
  end)

  it('refuses a source that is none, and options that it does not have', function()
    says('cuda.module: expected the source of kernels as text, got nil', cuda.module)
    says('kernel.cu: expected at least one kernel, extern "C" __global__ void name(...) { ... }, got none', cuda.module, '')
    says("cuda.module: unknown option 'option'; did you mean 'options'?", cuda.module, SOURCE, { option = {} })
    says("cuda.module: options: expected a list of options for the compiler, { '-DN=16' }, got a table", cuda.module, SOURCE,
      { options = { 'x' } })
    says("cuda.module: device: expected a device ('cpu' or 'cuda:0'), got the string \"gpu\"", cuda.module, SOURCE,
      { device = 'gpu' })
  end)

  it('tells mistakes in the source by the lines of the script and of the source', function()
    local line = debug.getinfo(1, 'l').currentline
    local bad = cuda.module([[
extern "C" __global__ void bad(float *x) {
  x[0] = oops;

  x[1] = 2 +;
}]], { name = 'bad.cu' })
    local ok, problem = pcall(bad.bad { grid = 1, block = 1 }, tensor.zeros({ 2 }))
    assert.is_false(ok)
    local here = 'spec/unit/cuda_module_spec.lua:'
    assert.truthy(problem:find('^bad%.cu is not compiled by %S+:\n'), problem)
    assert.truthy(problem:find(here .. line + 3 .. ": [^\n]*oops[^\n]* %(line 2 of bad%.cu%)\n    x%[0%] = oops;\n"), problem)
    assert.truthy(problem:find(here .. line + 5 .. ": [^\n]+ %(line 4 of bad%.cu%)\n    x%[1%] = 2 %+;$"), problem)
  end)

  it('tells the lines of the source alone where it does not stand in the script', function()
    local source = ('extern "C" __global__ void bad() {\n%s;\n}'):format 'oops'
    local ok, problem = pcall(cuda.module(source).bad { grid = 1, block = 1 })
    assert.is_false(ok)
    assert.truthy(problem:find('\nkernel%.cu:2: [^\n]*oops[^\n]*\n    oops;$'), problem)
  end)

  it('tells a body that does not end by the last line', function()
    local ok, problem = pcall(cuda.module('extern "C" __global__ void bad() {\n  if (1) {\n}').bad { grid = 1, block = 1 })
    assert.is_false(ok)
    assert.truthy(problem:find('\nkernel%.cu:3: [^\n]*}[^\n]*\n    }'), problem)
  end)

  it('tells mistakes in a source of another system by the same lines', function()
    for _, newline in ipairs { '\r\n', '\r' } do
      local lines = { '', 'extern "C" __global__ void bad(float *x) {', '  x[0] = 1;', '  x[0] = oops;', '}', '' }
      local ok, problem = pcall(cuda.module(table.concat(lines, newline)).bad { grid = 1, block = 1 }, tensor.zeros { 1 })
      assert.is_false(ok)
      assert.truthy(problem:find('\nkernel%.cu:4: [^\n]*oops[^\n]*\n    x%[0%] = oops;$'), problem)
    end
  end)

  it('tells mistakes in a header with the line that includes it, and those in Farside\'s own with the line that led there', function()
    local header = assert(io.open(folder.path .. '/wrong.h', 'wb'))
    header:write '\n__device__ float h() { return oops; }'
    header:close()
    local line = debug.getinfo(1, 'l').currentline
    local bad = cuda.module([[
#include "wrong.h"
struct two { float a, b; };
extern "C" __global__ void bad(two *x) {
  atomicAdd(x, *x);
}]], { options = { '-I' .. folder.path } })
    local ok, problem = pcall(bad.bad { grid = 1, block = 1 }, ffi.new 'float[2]')
    assert.is_false(ok)
    local here = 'spec/unit/cuda_module_spec.lua:'
    local path = folder.path:gsub('%p', '%%%0') .. '/wrong%.h:2'
    assert.truthy(problem:find(here .. line + 2 .. ': [^\n]*oops[^\n]* %(line 1 of kernel%.cu, in ' .. path
      .. '%)\n    #include "wrong%.h"\n'), problem)
    assert.truthy(problem:find(here .. line + 5 .. ': [^\n]+ %(line 4 of kernel%.cu, in simt%.h:%d+%)\n    atomicAdd%(x, %*x%);$'),
      problem)
  end)

  it('tells what is called and defined nowhere, before a launch', function()
    local bad = cuda.module '__device__ float other(float); extern "C" __global__ void bad(float *x) { *x = other(1); }'
    local ok, problem = pcall(bad.bad { grid = 1, block = 1 }, tensor.zeros { 1 })
    assert.is_false(ok)
    assert.truthy(problem:find('^kernel%.cu is not compiled by %S+:\nkernel%.cu: other%(float%) is declared and called, and defined '
      .. 'nowhere$'), problem)
  end)

  it('tells eight mistakes and how many more there are', function()
    local lines = { 'extern "C" __global__ void bad(float *x) {' }
    for i = 1, 20 do lines[i + 1] = ('  x[0] = oops%d;'):format(i) end
    local ok, problem = pcall(cuda.module(table.concat(lines, '\n') .. '}').bad { grid = 1, block = 1 }, tensor.zeros { 1 })
    assert.is_false(ok)
    assert.truthy(problem:find('\nkernel%.cu:9: [^\n]*oops8[^\n]*\n    x%[0%] = oops8;\nand 12 more$'), problem)
  end)

  -- What others write, in words of their own.
  for by, case in pairs {
    NVRTC = { [[
in.h(2): error: identifier "oops" is undefined
k.cu(3): error: no instance of function template "f" matches the argument list
2 errors detected in the compilation of "k.cu".]], 'in.h:2: identifier "oops" is undefined\n'
      .. 'k.cu:3: no instance of function template "f" matches the argument list\n    third' },
    ptxas = { "ptxas fatal   : Unresolved extern function '_Z5otherf'", 'k.cu: _Z5otherf is declared and called, and defined nowhere' },
    clang = { [[
In file included from k.cu:1:
./in.h:2:31: error: use of undeclared identifier 'oops'
__device__ float h() { return oops; }
                              ^
/tmp/farside-Ab12/simt.h:183:49: error: invalid operands to binary expression
k.cu:3:3: note: in instantiation of function template specialization 'atomicAdd<two>' requested here
2 errors generated.]], "k.cu:1: use of undeclared identifier 'oops' (in ./in.h:2)\n    first\n"
      .. 'k.cu:3: invalid operands to binary expression (in simt.h:183)\n    third' },
    lld = { 'ld.lld: error: undefined symbol: other(float)\n>>> referenced by kernels.cc', 'k.cu: other(float) is declared and '
      .. 'called, and defined nowhere' },
    another = { 'no idea\n', 'no idea' },
  } do
    it('tells what is said by ' .. by, function()
      local what = { name = 'k.cu', source = 'first\nsecond\n  third\n' }
      assert.equal(('k.cu is not compiled by %s:\n%s'):format(by, case[2]), diagnostics.describe(what, by, case[1]))
    end)
  end

  it('is compiled once for all processes', function()
    local before = #folder:kernels()
    backends.put(DEVICE, library)  -- as it is in another process
    cuda.module(SOURCE, { device = DEVICE }).nothing { grid = 1, block = 1 } ()
    assert.equal(before, #folder:kernels())
    assert.equal(folder.path, (folder:run 'find $folder -name "*.so" | head -1'):match '^(.*)/farside/kernels/')
  end)

  it('is compiled anew when what was kept is damaged, and without a place to keep it', function()
    local source = 'extern "C" __global__ void one(float *x) { *x = ONE; }'
    local function compute(value)
      backends.put(DEVICE, library)  -- as it is in another process
      local out = tensor.zeros({ 1 }, 'f32', DEVICE)
      cuda.module(source, { options = { '-DONE=' .. value } }).one { grid = 1, block = 1 } (out)
      return out[1]
    end
    assert.equal(1, compute(1))
    -- The old file stays as it is: it is mapped.
    local newest = folder:run 'ls -t $folder/farside/kernels/* | head -1'
    folder:run(('head -c 1000 %s >$folder/half && mv $folder/half %s'):format(newest, newest))
    assert.equal(1, compute(1))
    assert.is_true(tonumber(folder:run('stat -c %s ' .. newest)) > 1000)
    Folder.set_variable('XDG_CACHE_HOME', '/dev/null')
    assert.equal(2, compute(2))
    Folder.set_variable('XDG_CACHE_HOME', folder.path)
  end)

  it('is compiled anew when what was kept is whole, and nothing that this machine can open', function()
    local key, kept = cache.key, nil
    cache.key = function(...)
      kept = key(...)
      cache.put(kept, 'so', 'no library')
      return kept
    end
    local out = tensor.zeros({ 1 })
    local ok, problem = pcall(cuda.module('extern "C" __global__ void three(float *x) { *x = 3; }').three { grid = 1, block = 1 }, out)
    cache.key = key
    assert.is_true(ok, problem)
    assert.equal(3, out[1])
    assert.is_true(#cache.get(kept, 'so') > 1000)
  end)

  it('goes on with what it has loaded when the files are removed', function()
    folder:run 'rm $folder/farside/kernels/*'
    local out = tensor.ones({ 2 })
    mod.saxpy { grid = 1, block = 4 } (out, 1, tensor.ones({ 2 }), 2)
    assert.same({ 2, 2 }, out:table())
  end)

  it('says what to do where there is no compiler', function()
    local path, cxx = os.getenv 'PATH', os.getenv 'CXX'
    Folder.set_variable('PATH', '/nowhere')
    Folder.set_variable('CXX', nil)
    local ok, problem = pcall(cuda.module('extern "C" __global__ void none() { 1; }').none { grid = 1, block = 1 })
    Folder.set_variable('PATH', path)
    Folder.set_variable('CXX', cxx)
    assert.same({ false, 'kernel.cu: there is no GPU, and no C++ compiler to compile its kernels for the processor with: '
      .. 'install one (apt-get install g++), or name one in CXX' }, { ok, problem })
  end)

  it('is compiled by the compiler that CXX names, with its options', function()
    local cxx = os.getenv 'CXX'
    Folder.set_variable('CXX', 'c++ -DANSWER=42')
    local out = tensor.zeros({ 1 })
    local ok, problem = pcall(cuda.module('extern "C" __global__ void answer(float *x) { *x = ANSWER; }')
      .answer { grid = 1, block = 1 }, out)
    Folder.set_variable('CXX', cxx)
    assert.same({ true, nil, 42 }, { ok, problem, out[1] })
  end)
end)
