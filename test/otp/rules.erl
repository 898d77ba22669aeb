%% What Erlang/OTP itself does, for the rules in docs/supervision.md:
%%
%%     cd test/otp && erlc rules.erl && erl -noshell -s rules
%%
%% No test needs this.  Workers trap exits and say that they start and stop.

-module(rules).
-export([start/0, init/1, start_worker/1, start_supervisor/2]).

start_worker(Name) ->
    Parent = self(),
    {ok, spawn_link(fun() ->
        process_flag(trap_exit, true),
        register(Name, self()),
        log ! {Name, starts},
        work(Name, Parent)
    end)}.

work(Name, Parent) ->
    receive
        {stop, Reason} -> log ! {Name, stops}, exit(Reason);
        {'EXIT', Parent, Reason} -> log ! {Name, stops, Reason}, exit(Reason);
        {'EXIT', _, _} -> work(Name, Parent)
    end.

init(Arguments) -> {ok, Arguments}.

start_supervisor(Flags, Children) -> supervisor:start_link(rules, {Flags, Children}).

supervise(Strategy, Intensity, Period, Children) ->
    {ok, Pid} = start_supervisor(flags(Strategy, Intensity, Period), Children),
    seen(),
    Pid.

flags(Strategy, Intensity, Period) -> #{strategy => Strategy, intensity => Intensity, period => Period}.
child(Name, Restart) -> #{id => Name, start => {rules, start_worker, [Name]}, restart => Restart}.
children(Supervisor) -> [{Id, is_pid(Pid)} || {Id, Pid, _, _} <- supervisor:which_children(Supervisor)].

seen() ->
    timer:sleep(200),
    log ! {get, self()},
    receive {log, Lines} -> Lines end.

logger(Lines) ->
    receive
        {get, Pid} -> Pid ! {log, lists:reverse(Lines)}, logger([]);
        Line -> logger([Line | Lines])
    end.

idle() -> receive go -> ok end.
say(Rule, What) -> io:format("~s: ~0p~n", [Rule, What]).

start() ->
    logger:set_primary_config(level, none),
    process_flag(trap_exit, true),
    register(log, spawn(fun() -> logger([]) end)),
    say("OTP", erlang:system_info(otp_release)),
    links(), monitors(), strategies(), intensity(), restarts(), escalation(), groups(),
    halt().

links() ->
    A = spawn(fun idle/0), link(A), link(A), exit(A, broken),
    say("link, once", [receive {'EXIT', A, Reason} -> Reason after 100 -> nothing end || _ <- [1, 2]]),
    catch link(A),
    say("link, nobody", receive {'EXIT', A, Reason} -> Reason after 100 -> nothing end),
    B = spawn(fun idle/0), C = spawn(fun() -> link(B), idle() end), timer:sleep(50), B ! go, timer:sleep(50),
    say("exit, normal: the other one is alive", is_process_alive(C)),
    D = spawn(fun idle/0), E = spawn(fun() -> link(D), idle() end), timer:sleep(50), link(E), exit(D, broken),
    say("exit, abnormal", receive {'EXIT', E, Why} -> Why after 100 -> nothing end).

monitors() ->
    A = spawn(fun idle/0), monitor(process, A), monitor(process, A), exit(A, broken),
    say("monitor, twice", [receive {'DOWN', _, process, A, Reason} -> Reason after 100 -> nothing end || _ <- [1, 2]]),
    monitor(process, A),
    say("monitor, nobody", receive {'DOWN', _, process, A, Reason} -> Reason after 100 -> nothing end),
    B = spawn(fun idle/0), Reference = monitor(process, B), exit(B, broken), timer:sleep(50), demonitor(Reference, [flush]),
    say("demonitor", receive {'DOWN', _, process, B, Other} -> Other after 100 -> nothing end).

strategies() ->
    Four = [child(Name, permanent) || Name <- [a, b, c, d]],
    A = supervise(one_for_one, 9, 5, Four), b ! {stop, broken}, say("one_for_one", seen()), ends(A),
    B = supervise(one_for_all, 9, 5, Four), b ! {stop, broken}, say("one_for_all", seen()), ends(B),
    C = supervise(rest_for_one, 9, 5, Four), b ! {stop, broken}, say("rest_for_one", seen()), say("supervisor exits", ends(C)).

ends(Pid) -> unlink(Pid), exit(Pid, shutdown), seen().
given_up(Pid) -> receive {'EXIT', Pid, Reason} -> Reason after 100 -> nothing end.

intensity() ->
    A = supervise(one_for_all, 1, 3600, [child(Name, permanent) || Name <- [a, b]]),
    a ! {stop, broken}, say("intensity, of all children; reached", {seen(), given_up(A)}),
    b ! {stop, broken}, say("intensity, exceeded", {seen(), given_up(A)}),
    B = supervise(one_for_one, 0, 5, [child(a, permanent)]), a ! {stop, broken}, say("intensity, 0", {seen(), given_up(B)}),
    C = supervise(one_for_one, 1, 1, [child(a, permanent)]), a ! {stop, broken}, timer:sleep(1500), a ! {stop, broken},
    say("intensity, period", {seen(), given_up(C)}), ends(C).

restarts() ->
    A = supervise(one_for_one, 9, 5, [child(a, permanent), child(b, transient), child(c, transient), child(d, temporary)]),
    a ! {stop, normal}, b ! {stop, {shutdown, x}}, c ! {stop, broken}, d ! {stop, broken},
    say("permanent, transient, temporary", {lists:sort(seen()), children(A)}), ends(A),
    B = supervise(one_for_all, 9, 5, [child(a, permanent), child(b, temporary)]), a ! {stop, broken},
    say("temporary, with its siblings", {seen(), children(B)}), ends(B).

escalation() ->
    Inner = #{id => inner, type => supervisor, start => {rules, start_supervisor, [flags(one_for_one, 0, 5), [child(a, permanent), child(b, permanent)]]}},
    A = supervise(one_for_one, 9, 5, [Inner#{restart => permanent}]), b ! {stop, broken}, say("escalation", {seen(), children(A)}), ends(A),
    B = supervise(one_for_one, 9, 5, [Inner#{restart => transient}]), b ! {stop, broken}, say("a transient supervisor gives up", {seen(), children(B)}), ends(B),
    C = supervise(one_for_one, 0, 5, [Inner#{restart => permanent}]), b ! {stop, broken}, say("escalation, to the top", {seen(), given_up(C)}).

groups() ->
    {ok, _} = pg:start_link(), A = spawn(fun idle/0), pg:join(g, A), pg:join(g, A), Members = length(pg:get_members(g)),
    exit(A, kill), timer:sleep(50), say("groups: joined twice, and after the exit", {Members, pg:get_members(g)}).
