"""One file per endpoint. Each is a function from a request to an answer; `dispatch` finds the right one."""
