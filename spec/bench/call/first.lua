-- From exec to the first result.
package.path = arg[0]:gsub('[^/]*$', '') .. '?.lua;' .. package.path
print(require('deploy').square(5))
io.stdout:flush()
