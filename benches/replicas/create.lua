-- Sends create requests like benches/load/create.lua, without a sink, and with an address and port of their
-- own for 15 million devices.
dofile("benches/load/create.lua")

local body = [[{"duration":3600,"device":{"phoneNumber":"+49%010d","ipv4Address":]]
  .. [[{"publicAddress":"198.51.100.%d","publicPort":%d}},"applicationServer":]]
  .. [[{"ipv4Address":"203.0.113.0/24"},"devicePorts":{"ranges":[{"from":5010,"to":5020}]},]]
  .. [["qosProfile":"QOS_E"}]]

function request()
  number = number + 1
  local address, port = math.floor(number / 60000) % 256, 1024 + number % 60000
  return wrk.format("POST", nil, headers, string.format(body, number, address, port))
end
