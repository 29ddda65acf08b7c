-- Sends create requests without a sink, each for a different device, with an address and port of its own for 15
-- million devices. FIRST is the number of the first device, TOKEN the access token.
number = tonumber(os.getenv("FIRST"))
headers = {
  ["Authorization"] = "Bearer " .. os.getenv("TOKEN"),
  ["Content-Type"] = "application/json",
}
local body = [[{"duration":3600,"device":{"phoneNumber":"+49%010d","ipv4Address":]]
  .. [[{"publicAddress":"198.51.100.%d","publicPort":%d}},"applicationServer":]]
  .. [[{"ipv4Address":"203.0.113.0/24"},"devicePorts":{"ranges":[{"from":5010,"to":5020}]},]]
  .. [["qosProfile":"QOS_E"}]]

function request()
  number = number + 1
  local address, port = math.floor(number / 60000) % 256, 1024 + number % 60000
  return wrk.format("POST", nil, headers, string.format(body, number, address, port))
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format("RESULT %d %d %d %d %d", summary.requests, failed, summary.duration,
    latency:percentile(50), latency:percentile(99)))
end
