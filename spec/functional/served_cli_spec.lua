--- The command line beside a router that serves.
local host = require 'spec.support.host'
local prometheus = require 'spec.support.prometheus'
local tensor = require 'farside.tensor'

local kDeploy = [[
local farside = require 'farside'
local app = farside.deployment { name = 'NAME', tag = 'TAG' }
app.configure_autoscaling { max_workers = 2, min_load = 1e12 }
local square = app.remote { benchmark_dataset = { { x = 2 } } } (function(x) return x * x end)
local area = app.remote(function(width, height, unit) return width * height, unit end)
local echo = app.remote(function(...) return ... end)
local fail = app.remote(function(text) error({ text = text }) end)
local nap = app.remote(function(seconds) farside.sleep(seconds) return 'slept' end)
local say = app.remote(function(text) print(text) end)
local die = app.remote(function()
  local ffi = require 'ffi'
  ffi.cdef 'int getpid(void); int kill(int, int);'
  ffi.C.kill(ffi.C.getpid(), 9)
end)
return { app = app, square = square, area = area, echo = echo, fail = fail, nap = nap, say = say, die = die }
]]

local function environment(changes)
  local variables = { XDG_RUNTIME_DIR = host.folder(), FARSIDE_ROUTER = false, NO_COLOR = false }
  for name, value in pairs(changes or {}) do variables[name] = value end
  return variables
end

local function serve(names, ...)
  local command = { host.farside, 'serve', ... }
  for i, name in ipairs(names or { 'square' }) do
    local text = kDeploy:gsub('NAME', (name:match('^[^:]+'))):gsub('TAG', name:match(':(.+)$') or 'default')
    command[#command + 1] = host.script(('deploy%d.lua'):format(i), text)
  end
  local process = host.spawn(command, { env = environment(), cwd = host.folder() })
  for _ in ipairs(names or { 'square' }) do process:wait_for 'is served at unix:(%S+)' end
  return process
end

local function farside(...)
  return host.run_program({ host.farside, ... }, { env = environment() })
end

local function prints(expected, ...)
  local run = farside(...)
  assert.same({ 0, expected, '' }, { run.code, run.out, run.err })
end

local function fails(code, part, ...)
  local run = farside(...)
  assert.equal(code, run.code, run.err)
  assert.equal('', run.out)
  assert.truthy(run.err:find(part, 1, true), run.err)
end

local function output_of(command)
  local pipe = io.popen(command)
  local text = pipe:read('*a')
  pipe:close()
  return text
end

-- JSON by another implementation, as a Lua table: strings, numbers, tables.
local function json(text, path)
  local file = host.script('value.json', text)
  return (output_of(("python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))%s)' %s"):format(path, file)):gsub('\n$', ''))
end

describe('beside a served router,', function()
  after_each(host.clean)

  describe('farside call', function()
    it('calls a function by names and by positions', function()
      serve()
      prints('25\n', 'call', 'square', 'x=5')
      prints('49\n', 'call', 'square', '7')
      prints('6\nm\n', 'call', 'area', 'unit=m', 'height=3', 'width=2')
      prints('9\n', 'call', 'square', '--', '-3')
    end)

    it('takes and gives JSON', function()
      serve()
      prints('[25]\n', 'call', 'square', '--json', '{"x": 5}')
      prints('[25]\n', 'call', 'square', 'x=5', '--json')
      prints('[1,"a b",null,{"c":[2]},true,9007199254740993]\n', 'call', 'echo', '--json',
        '[1, "a b", null, {"c": [2]}, true, 9007199254740993]')
      prints('[[[],{},{"a":[]}]]\n', 'call', 'echo', '--json', '[[[], {}, {"a": []}]]')
      prints('text\n', 'call', 'echo', 'text')
      prints('', 'call', 'echo')
    end)

    it('says what is wrong with arguments before anything is sent', function()
      serve()
      fails(64, "did you mean 'width'?", 'call', 'area', 'widht=2')
      fails(64, 'expected at most 1 arguments (x), got 2', 'call', 'square', '1', '2')
      fails(64, "'square' has no function 'sqare'; did you mean 'square'?", 'call', 'sqare', '1')
      fails(64, '--json: JSON: expected', 'call', 'square', '--json', '{x: 5}')
      assert.truthy(farside('metrics').out:find('farside_calls_admitted_total{[^\n]*function="area"} 0\n'))
    end)

    describe('with files', function()
      local function file(name, text)
        return '@' .. host.script(name, text)
      end

      local function tensor_file(name, value)
        local path = host.script(name, '')
        tensor.save(path, value)
        return '@' .. path
      end

      before_each(function() serve { 'tensors' } end)

      it('takes a tensor of .npy, tensors by name of .safetensors, a value of .json, and text', function()
        local t = tensor.from({ { 1, 2 }, { 3, 4 } }, 'f64')
        prints('tensor {2, 2} f64\n[[1, 2],\n [3, 4]]\n', 'call', 'echo', tensor_file('q.npy', t))
        prints('[[[1,4],[9,16]]]\n', 'call', 'square', 'x=' .. tensor_file('q.npy', t), '--json')
        prints('[{"a":[],"b":[1,2]}]\n', 'call', 'echo', '--json',
          tensor_file('t.safetensors', { a = tensor.empty { 0, 3 }, b = tensor.from({ 1, 2 }, 'bf16') }))
        prints('[{"a":[1,null]},"a \\"b\\"\\n"]\n', 'call', 'echo', file('v.json', '{"a": [1, null]}'),
          file('text', 'a "b"\n'), '--json')
        prints('@text\n', 'call', 'echo', '"@text"')
      end)

      it('says what is wrong with them before anything is sent', function()
        local npy = "\147NUMPY\1\0\70\0{'descr': '<c16', 'fortran_order': False, 'shape': (1,), }"
        npy = npy .. (' '):rep(79 - #npy) .. '\n' .. ('\0'):rep(16)
        fails(64, ": No such file or directory; text that begins with @ is given as JSON, '\"@none.npy\"'", 'call', 'echo', '@none.npy')
        fails(64, 'bad.npy: at byte 0: expected the magic of .npy', 'call', 'echo', file('bad.npy', 'no magic'))
        fails(64, 'c16.npy: at byte 10: expected elements of one of the types <f8,', 'call', 'echo', 'x=' .. file('c16.npy', npy))
        fails(64, "v.json: JSON: expected ',' or '}' at character 7, got the end", 'call', 'echo', file('v.json', '{"a":1'))
        fails(64, "argument '@/': /: Is a directory", 'call', 'echo', '@/')
      end)

      it('writes results to a file, and prints what that cannot hold', function()
        local folder = host.folder()
        local function run(code, out, part, ...)
          local process = farside('call', 'echo', ...)
          assert.same({ code, out }, { process.code, process.out }, process.err)
          assert.truthy(process.err:find(part, 1, true), process.err)
        end
        local t = tensor_file('q.npy', tensor.from({ 1, 2 }, 'f16'))
        prints('', 'call', 'square', 'x=' .. t, '-o', folder .. '/out.npy')
        local out = tensor.load(folder .. '/out.npy')
        assert.same({ 'f16', { 1, 4 } }, { out.dtype, out:table() })
        prints('', 'call', 'echo', '{"a": 1}', t, '--output', folder .. '/out.txt')
        prints('{\n  "a": 1\n}\ntensor {2} f16\n[1, 2]\n\n', 'call', 'echo', '@' .. folder .. '/out.txt')
        prints('', 'call', 'echo', t, '--output', folder .. '/out.safetensors')
        assert.same({ 1, 2 }, tensor.load(folder .. '/out.safetensors').result:table())
        run(1, '5\n', "out.npy: expected a tensor as result, got the number 5\n", '5', '-o', folder .. '/out.npy')
        run(1, '1\n2\n', 'out.npy: expected one result, got 2\n', '1', '2', '-o', folder .. '/out.npy')
        run(1, '5\n', '--output: /no/out: No such file or directory\n', '5', '-o', '/no/out')
      end)
    end)

    it('ends with 1 and the error of the call on stderr', function()
      serve()
      fails(1, 'RemoteError', 'call', 'fail', 'text=no')
      fails(1, 'DeadlineExceeded', 'call', 'nap', '5', '--timeout', '0.2')
      fails(64, "--timeout: expected seconds, got 'soon'", 'call', 'nap', '5', '--timeout', 'soon')
    end)

    it('ends with 69 where no router is', function()
      fails(69, "no router is there; 'farside serve SCRIPT' starts one", 'call', 'square', '5')
    end)

    it('finds the one deployment that has the function, and asks where several have', function()
      serve { 'a', 'a:canary' }
      fails(64, 'there are several: a, a:canary; choose one with --deployment', 'call', 'square', '5')
      prints('25\n', 'call', 'square', '5', '--deployment', 'a:canary')
      fails(69, "no deployment 'b' is served; there are: a, a:canary", 'call', 'square', '5', '-d', 'b')
    end)
  end)

  describe('farside ps', function()
    it('shows deployments, workers, states, scores and load', function()
      local process = serve { 'a', 'b:canary' }
      host.eventually(function() return farside('ps').out:find('2 of 2 workers ready.*2 of 2 workers ready') end, 10,
        'workers are ready')
      local run = farside('ps')
      assert.same({ 0, '' }, { run.code, run.err })
      assert.truthy(run.out:find(('\nb:canary  ready  2 of 2 workers ready, 0 queued, 0 running, 0 calls, 0 clients  (router %d, up ')
        :format(process.pid), 1, true), run.out)
      assert.truthy(run.out:find('\n       0  ready  +%d+          0      0       1  square [%d.e+]+%a?/s\n'), run.out)
      assert.is_nil(run.out:find('\27', 1, true))
      local only = farside('ps', '-d', 'a').out
      assert.truthy(only:find('^a  ready') and not only:find('canary'), only)
    end)

    it('shows them as JSON', function()
      local process = serve()
      host.eventually(function() return farside('ps').out:find('2 of 2 workers ready') end, 10, 'workers are ready')
      local text = farside('ps', '--json').out
      assert.equal(tostring(process.pid), json(text, '[0]["pid"]'))
      assert.truthy(json(text, '[0]["epoch"]'):find('^' .. ('%x'):rep(16) .. '$'))
      assert.equal('square', json(text, '[0]["deployments"][0]["name"]'))
      assert.equal('2', json(text, '[0]["deployments"][0]["workers"].__len__()'))
      assert.truthy(json(text, '[0]["deployments"][0]["workers"][0]["process"]'):find('^process %d+ of this machine'))
      process:kill(15)
      process:wait()
      local run = farside('ps', '--json')
      assert.same({ 69, '[]\n' }, { run.code, run.out })
    end)

    it('tells why a call went where it went', function()
      local process = host.spawn({ host.farside, 'serve', host.script('which.lua', [[
        local farside = require 'farside'
        local app = farside.deployment { name = 'which' }
        local id = app.remote { benchmark_dataset = { {} } } (function() return farside.call() and farside.call().id end)
        local fails = app.remote(function() error('no') end)
        local sleeps = app.remote(function() farside.sleep(600) end)
        return { app = app, id = id, fails = fails, sleeps = sleeps }
      ]]) }, { env = environment() })
      process:wait_for 'is (served) at'
      local id = farside('call', 'id').out:match '%x+'
      assert.equal(32, #id)
      local run = farside('why', id)
      assert.equal(0, run.code, run.err)
      assert.truthy(run.out:find '^id of .which. ended with a result: attempt 1, workload 100\n')
      assert.truthy(run.out:find '\nworker 0: no other worker had room for it\n', 1, true)
      assert.truthy(run.out:find 'WORKER  ROOM +STANDING +WAIT +ROUND TRIP +SCORE +ENDS IN')
      assert.truthy(run.out:find '\n +0  free +slow start ')
      local text = farside('why', id, '--json').out
      assert.equal('only_free', json(text, '["reason"]'))
      assert.equal('0', json(text, '["workers"][0]["place"]'))
      assert.equal('None', json(text, '["workers"][0]["round_trip"]'))  -- it had answered nobody yet
      assert.equal('slow start', json(text, '["workers"][0]["standing"]'))
      text = farside('why', farside('call', 'id').out:match '%x+', '--json').out
      assert.truthy(tonumber(json(text, '["workers"][0]["round_trip"]')) > 0)
      id = farside('call', 'fails').err:match('\ncall (%x+); where it went: farside why %1\n')
      assert.equal(32, #id)
      run = farside('why', id)
      assert.truthy(run.out:find '^fails of .which. ended with an error: attempt 1, workload %S+, RemoteError\n', run.out)
      id = farside('call', 'sleeps', '--timeout', '0.5').err:match('\ncall (%x+); where it went')
      assert.truthy(farside('why', id).out:find '\nit ended %S+ m?s after it was sent there, how long it ran there is not known; ')
      text = farside('why', id, '--json').out
      assert.equal('None', json(text, '["ran"]'))
      assert.truthy(tonumber(json(text, '["since_sent"]')) <= tonumber(json(text, '["took"]')))
      local other = farside('why', ('0'):rep(32))
      assert.equal(1, other.code)
      assert.truthy(other.err:find 'no such call among the latest 10000')
      assert.equal(64, farside('why', 'abc').code)
    end)

    it('goes where it is told to, and says why it cannot', function()
      serve()
      local nowhere = 'unix:' .. host.folder() .. '/nothing.sock'
      fails(69, nowhere, 'ps', '--router', nowhere)
      fails(69, 'expected as unix:PATH', 'ps', '--router', 'tcp:1')
    end)
  end)

  describe('farside logs', function()
    it('shows what workers have printed, by worker', function()
      serve()
      farside('call', 'say', 'text=hello there')
      host.eventually(function() return farside('logs').out:find('worker %d: hello there\n') end, 5, 'the line is there')
      local worker = farside('logs').out:match('worker (%d): hello')
      assert.truthy(farside('logs', worker).out:find('hello there', 1, true))
      assert.is_nil(farside('logs', tostring(1 - worker)).out:find('hello there', 1, true))
      assert.equal('hello there', json(farside('logs', worker, '--json').out:match('[^\n]*hello[^\n]*'), '["text"]'))
    end)

    it('follows, until it is interrupted', function()
      serve()
      farside('call', 'say', 'first')
      local follower = host.spawn({ host.farside, 'logs', '-f' }, { env = environment() })
      follower:wait_for 'worker %d: first\n'
      farside('call', 'say', 'second')
      follower:wait_for 'worker %d: second\n'
      follower:kill(2)
      follower:wait()
      assert.equal(130, follower.code)
    end)

    it('shows what a terminal would obey in words', function()
      serve()
      farside('call', 'say', 'text="a\\u001b[2Jb"')
      host.eventually(function() return farside('logs').out:find('a\\x1b[2Jb', 1, true) end, 5, 'the line is there')
    end)

    it('says that there is no such worker, and which there are', function()
      serve()
      farside('call', 'square', 'x=5')
      fails(1, 'farside: logs: there is no worker 9, and no line of one that was; workers that there are: 0', 'logs', '9')
      local follower = host.spawn({ host.farside, 'logs', '-f', '9' }, { env = environment() })
      follower:wait_for 'there is no worker 9'
      follower:kill(2)
      follower:wait()
    end)

    it('tells of a worker that has died, in a call or idle, as the router itself does', function()
      local process = serve()
      assert.truthy(farside('call', 'die').err:find('WorkerLost', 1, true))
      host.eventually(function() return farside('ps').out:find('2 of 2 workers ready', 1, true) end, 20, 'both are there')
      local pid = json(farside('ps', '--json').out, '[0]["deployments"][0]["workers"][0]["pid"]')
      os.execute('kill -9 ' .. assert(pid:match('^%d%d+$'), pid))
      local in_call = 'worker %d %(process %d+%) was ended by signal 9 %(Killed%) while it ran call %x+ of die; another one [^\n]+\n'
      local idle = ('worker %%d %%(process %s%%) was ended by signal 9 %%(Killed%%) while it ran no call; [^\n]+\n'):format(pid)
      process:wait_for('%[square%] ' .. in_call)
      process:wait_for('%[square%] ' .. idle)
      local lines = farside('logs').out
      assert.truthy(lines:find('router: ' .. in_call), lines)
      assert.truthy(lines:find('router: ' .. idle), lines)
    end)

    it('refuses what is no number of a worker', function()
      fails(64, "expected the number of a worker, got 'x'", 'logs', 'x')
    end)
  end)

  describe('metrics', function()
    local function of_socket(path)
      return output_of(("curl -s -m 10 --unix-socket '%s' http://localhost%s"):format(
        output_of('ls ' .. host.folder() .. '/farside/*.sock'):match('[^\n]+'), path))
    end

    it('are the same with farside metrics and over the socket, and add up', function()
      serve()
      for i = 1, 3 do farside('call', 'square', tostring(i)) end
      farside('call', 'fail', 'no')
      local families = prometheus.parse(farside('metrics').out)
      assert.equal(3, prometheus.sum(families, 'farside_calls_total', { ['function'] = 'square', outcome = 'ok' }))
      assert.equal(1, prometheus.sum(families, 'farside_calls_total', { ['function'] = 'fail', outcome = 'RemoteError' }))
      assert.equal(4, prometheus.sum(families, 'farside_calls_admitted_total'))
      assert.equal(2, prometheus.sum(families, 'farside_worker_starts_total'))
      assert.equal(0, prometheus.sum(families, 'farside_clients'))
      if output_of('command -v curl') == '' then return pending('curl is not there') end
      local page = prometheus.parse(of_socket('/metrics'))
      assert.equal(4, prometheus.sum(page, 'farside_calls_admitted_total'))
      for name in pairs(families) do assert.truthy(page[name], name) end
    end)

    it('are there as JSON', function()
      serve()
      assert.equal('farside_build_info', json(farside('metrics', '--json').out, '[0]["name"]'))
    end)

    it('and health are on a loopback address where that is asked for', function()
      if output_of('command -v curl') == '' then return pending('curl is not there') end
      local process = serve(nil, '--metrics', '127.0.0.1:0')
      local url = process.err:match('metrics are at (http://127%.0%.0%.1:%d+)/metrics')
      assert.equal('serving\n', output_of('curl -s -m 10 ' .. url .. '/healthz'))
      prometheus.parse(output_of('curl -s -m 10 ' .. url .. '/metrics'))
      assert.equal('404', output_of('curl -s -m 10 -o /dev/null -w "%{http_code}" ' .. url .. '/'))
    end)

    it('are on no other address', function()
      local run = farside('serve', '--metrics', '0.0.0.0:9464', host.script('deploy.lua', kDeploy))
      assert.equal(78, run.code)
      assert.truthy(run.err:find("expected a loopback address with a port for HTTP, as in 127.0.0.1:9464, got '0.0.0.0:9464'", 1, true),
        run.err)
    end)
  end)

  describe('farside stop', function()
    it('lets calls in progress finish, and waits for the end', function()
      local process = serve()
      local nap = host.spawn({ host.farside, 'call', 'nap', '1' }, { env = environment() })
      host.eventually(function() return farside('ps').out:find('1 running', 1, true) end, 10, 'it runs')
      prints(('router %d has ended\n'):format(process.pid), 'stop')
      nap:wait()
      assert.same({ 0, 'slept\n' }, { nap.code, nap.out })
      process:wait()
      assert.equal(0, process.code)
    end)

    it('takes the name of a deployment, and says as JSON what it did', function()
      local process = serve { 'a' }
      fails(69, "no deployment 'b' is served; there are: a", 'stop', 'b')
      prints(('{"ended":true,"pid":%d}\n'):format(process.pid), 'stop', 'a', '--json')
    end)
  end)
end)

