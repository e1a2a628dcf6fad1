-- For wrk, one thread per connection: renews a grant of its own, again and again.
-- The argument is a file with a refresh token and a client's id in each line.

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(arguments)
  local lines = 0
  for line in io.lines(arguments[1]) do
    lines = lines + 1
    if lines == number then
      token, client = line:match("(%S+) (%S+)")
    end
  end
  headers = { ["Content-Type"] = "application/x-www-form-urlencoded" }
end

function request()
  local form = "grant_type=refresh_token&client_id=" .. client .. "&refresh_token=" .. token
  return wrk.format("POST", nil, headers, form)
end

function response(status, _, body)
  token = body:match('"refresh_token":"([^"]+)"') or token
end
