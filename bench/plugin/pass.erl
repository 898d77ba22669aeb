%% For bench/tell.sh: one process sends N messages to another one, which counts
%% them and says when it has them all.  Prints messages a second.
-module(pass).
-export([main/1]).

main([Count]) ->
	N = list_to_integer(Count),
	Self = self(),
	Receiver = spawn(fun() -> receive_all(N, Self) end),
	Start = erlang:monotonic_time(microsecond),
	send_all(N, Receiver),
	receive done -> ok end,
	io:format("~.1f~n", [N * 1.0e6 / (erlang:monotonic_time(microsecond) - Start)]),
	halt().

send_all(0, _) -> ok;
send_all(N, To) -> To ! {add, N}, send_all(N - 1, To).

receive_all(0, Who) -> Who ! done;
receive_all(N, Who) -> receive {add, _} -> receive_all(N - 1, Who) end.
