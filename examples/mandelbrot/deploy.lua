local farside = require 'farside'
local cuda = require 'farside.cuda'
local png = require 'png'
local tensor = require 'farside.tensor'
local app = farside.deployment { name = 'mandelbrot' }

-- Compiled when a worker starts: by NVRTC for its GPU, without one by the C++ compiler of the system.
local kernels = cuda.module [[
struct colour {
  float r, g, b;
};

__device__ float wave(float turn) {
  return 0.5f + 0.5f * cosf(6.2831853f * turn);
}

// From deep blue over white, amber and black back to blue; `light` from 0 to 1.
__device__ colour palette(float turn, float light) {
  const float strength = 0.25f + 0.9f * light;
  return {strength * wave(turn + 0.55f), strength * wave(turn + 0.50f), strength * wave(turn + 0.42f)};
}

// z = z * z + c, again and again: black if that stays small. Else how soon it does not is the colour, and the slope of that is
// lit from the upper left, for which z' (the derivative by c) tells where up is.
__device__ colour colour_of(double cx, double cy, int iterations) {
  const double q = (cx - 0.25) * (cx - 0.25) + cy * cy;
  const bool in_heart = q * (q + cx - 0.25) <= 0.25 * cy * cy;
  const bool in_disc = (cx + 1) * (cx + 1) + cy * cy <= 0.0625;
  if (in_heart || in_disc) return {0, 0, 0};
  double x = 0, y = 0, dx = 0, dy = 0;
  for (int i = 0; i < iterations; ++i) {
    const double ddx = 2 * (x * dx - y * dy) + 1;
    dy = 2 * (x * dy + y * dx);
    dx = ddx;
    const double xx = x * x - y * y + cx;
    y = 2 * x * y + cy;
    x = xx;
    const double size = x * x + y * y;
    if (size < 1e4) continue;
    const float steps = i + 1 - log2f(logf((float)size) / 9.21f);  // without a jump from one i to the next
    const double nx = x * dx + y * dy, ny = y * dx - x * dy;
    const float slope = (float)((ny - nx) * 0.7071 / sqrt(nx * nx + ny * ny));  // -1 to 1
    return palette(1.5f - 0.27f * log2f(1 + steps), fmaxf(slope + 1.5f, 0) / 2.5f);
  }
  return {0, 0, 0};
}

__device__ unsigned char byte_of(float sum) {
  return (unsigned char)(255 * fminf(sum / 4, 1) + 0.5f);
}

// One thread a pixel; four points in it are mixed, so that edges are smooth.
extern "C" __global__ void paint(unsigned char *rgb, int width, int height, double x, double y, double pixel, int iterations) {
  const int column = blockIdx.x * blockDim.x + threadIdx.x;
  const int row = blockIdx.y * blockDim.y + threadIdx.y;
  if (column >= width || row >= height) return;
  colour sum = {0, 0, 0};
  for (int i = 0; i < 4; ++i) {
    const double right = column + 0.25 + 0.5 * (i % 2) - 0.5 * width;
    const double down = row + 0.25 + 0.5 * (i / 2) - 0.5 * height;
    const colour one = colour_of(x + right * pixel, y - down * pixel, iterations);
    sum = {sum.r + one.r, sum.g + one.g, sum.b + one.b};
  }
  unsigned char *to = rgb + 3 * ((long long)row * width + column);
  to[0] = byte_of(sum.r);
  to[1] = byte_of(sum.g);
  to[2] = byte_of(sum.b);
}
]]

local BLOCK = { 32, 8 }

-- The deeper, the longer a point may take.
local function iterations_for(span)
  return math.floor(400 + 200 * math.max(0, math.log(3 / span) / math.log(2)))
end

-- draw(x, y, span, width, height): the bytes of a PNG of what lies around a point, `span` from left to right.
local draw = app.remote {
  benchmark_dataset = {
    { x = -0.7, y = 0, span = 3.3, width = 48, height = 32 },
    { x = -0.7436, y = 0.1318, span = 0.012, width = 48, height = 32 },
  },
  workload_calculator = function(_, _, _, width, height) return width * height / 1000 end,
} (function(x, y, span, width, height)
  local picture = tensor.empty({ height, width, 3 }, 'u8', tensor.device())
  local grid = { math.ceil(width / BLOCK[1]), math.ceil(height / BLOCK[2]) }
  kernels.paint { grid = grid, block = BLOCK } (picture, width, height, x, y, span / width, iterations_for(span))
  return png.encode(picture:to 'cpu')
end)

return { app = app, draw = draw }
