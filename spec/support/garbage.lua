--- `local collect = require 'spec.support.garbage'`: collects garbage twice, since what a finalizer referred to is garbage after
--- the first time only. Compiled code keeps what it was compiled for, as the closure that it calls, and so it goes before.
return function()
  jit.flush()
  collectgarbage()
  collectgarbage()
end
