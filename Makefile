# actorstore: build, install, test.
#
# To use it:    make && sudo make install         (PG_CONFIG=... picks one of several servers)
# To try it:    make demo, make demo-cluster, make demo-ha, make orders, make board, make demo-stop   (install what is missing; touch no server of the system)
# To change it: make check, make torture, make fuzz, make bench (likewise)
#               make floors, make checkver, make WERROR=1
# To release it: make dist, make checkdist      (a zip for PGXN)

PG_CONFIG ?= pg_config
export PG_CONFIG

# ---- What a newcomer calls: works before PostgreSQL, or even a compiler, is there ----------------------------------

NEWCOMER = demo demo-cluster demo-ha demo-stop orders board check torture fuzz bench

ifneq ($(filter $(NEWCOMER),$(MAKECMDGOALS)),)

SUBMAKE = $(MAKE) --no-print-directory -j$(shell getconf _NPROCESSORS_ONLN)
PREPARE = scripts/install-deps $(EXTRA) && scripts/as-user --owner $(SUBMAKE) private-server

.PHONY: $(MAKECMDGOALS)
.NOTPARALLEL:

demo:
	@$(PREPARE) && scripts/as-user --owner $(SUBMAKE) -s examples/flights/replay && scripts/as-user bash scripts/demo

demo-cluster:
	@$(PREPARE) && scripts/as-user bash scripts/demo-cluster

demo-ha: EXTRA = ha
demo-ha:
	@$(PREPARE) && scripts/as-user bash examples/ha/run

demo-stop:
	@scripts/throwaway demo stop && scripts/as-user bash scripts/demo-cluster stop

orders board: EXTRA = node
orders:
	@$(PREPARE) && scripts/as-user --owner scripts/npm-packages && scripts/as-user --owner examples/orders/run $(ORDERS)

board:
	@$(PREPARE) && scripts/as-user --owner scripts/npm-packages && scripts/as-user --owner examples/board/run $(PORT)

# KINDS="unit regress isolation tap" is the default; KINDS=ha is test/t/128_ha.pl with servers, which takes minutes
check: EXTRA = clients $(filter ha,$(KINDS))
check:
	@$(PREPARE) && scripts/as-user --owner $(SUBMAKE) -s fault-server && scripts/as-user --owner scripts/npm-packages && scripts/as-user bash scripts/check $(KINDS)

# DURATION=600 (seconds) SEED=1 (of the random faults; it is printed)
torture:
	@$(PREPARE) && scripts/as-user env ACTORSTORE_TORTURE_SECONDS=$(or $(DURATION),600) ACTORSTORE_TORTURE_SEED=$(SEED) bash scripts/check torture

# DURATION=600 (seconds, each) TARGETS="envelope options sequence"
fuzz: EXTRA = clang
fuzz:
	@$(PREPARE) && scripts/as-user --owner env DURATION=$(or $(DURATION),600) bash scripts/fuzz $(TARGETS)

bench: EXTRA = clients peers
bench:
	@$(PREPARE) && scripts/as-user --owner bench/run $(CLAIMS)

# Any other goal on the same command line.
$(filter-out $(NEWCOMER),$(MAKECMDGOALS)):
	@$(SUBMAKE) $@

else

# ---- The extension ---------------------------------------------------------------------------------------------------

EXTENSION  = actorstore
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" $(srcdir)/actorstore.control)
DATA       = $(patsubst $(srcdir)/%,%,$(wildcard $(srcdir)/sql/actorstore--*.sql))
MODULE_big = actorstore
PGFILEDESC = "actorstore - durable actors"

# Bottom floor first: a file includes only what lies below it (make floors).
OBJS = \
	src/lib/gid.o \
	src/lib/nap.o \
	src/lib/key_hash.o \
	src/lib/slot_map.o \
	src/lib/spread.o \
	src/lib/table_name.o \
	src/lib/sequence.o \
	src/lib/histogram.o \
	src/lib/json_object.o \
	src/lib/envelope.o \
	src/lib/wait_graph.o \
	src/lib/vclock.o \
	src/lib/phi.o \
	src/lib/gossip.o \
	src/lib/seed_list.o \
	src/lib/srv_answer.o \
	src/cdc/options.o \
	src/cdc/json_text.o \
	src/cdc/event.o \
	src/cdc/decode.o \
	src/cdc/commit_signal.o \
	src/cdc/slot.o \
	src/cdc/keeper.o \
	src/state/catalog.o \
	src/state/after_commit.o \
	src/state/index_set.o \
	src/state/text_query.o \
	src/state/identity.o \
	src/state/type.o \
	src/state/owner.o \
	src/state/partition.o \
	src/state/partition_find.o \
	src/state/partition_place.o \
	src/state/merge_patch.o \
	src/state/actor_row.o \
	src/state/actor_scan.o \
	src/state/actor_executor.o \
	src/state/actor_write.o \
	src/state/actor_many.o \
	src/state/rights.o \
	src/state/handler.o \
	src/state/handler_find.o \
	src/state/type_options.o \
	src/state/rows_delete.o \
	src/state/type_ddl.o \
	src/runtime/slot.o \
	src/runtime/sched.o \
	src/runtime/message_id.o \
	src/runtime/answer.o \
	src/runtime/request.o \
	src/runtime/offer.o \
	src/runtime/lease.o \
	src/runtime/lease_row.o \
	src/runtime/rest.o \
	src/runtime/homes.o \
	src/runtime/flow.o \
	src/runtime/urgent.o \
	src/runtime/mail_page.o \
	src/runtime/mailbox.o \
	src/runtime/outgoing.o \
	src/runtime/report.o \
	src/runtime/trace.o \
	src/runtime/letters.o \
	src/runtime/waiting.o \
	src/runtime/send.o \
	src/runtime/redrive.o \
	src/runtime/halt.o \
	src/runtime/stat.o \
	src/runtime/conflict.o \
	src/runtime/session.o \
	src/runtime/trail.o \
	src/runtime/turn_read.o \
	src/runtime/turn_actor.o \
	src/runtime/turn_answer.o \
	src/runtime/turn_run.o \
	src/runtime/turn_handle.o \
	src/runtime/own_state.o \
	src/runtime/turn_fail.o \
	src/runtime/system.o \
	src/runtime/life_check.o \
	src/runtime/said.o \
	src/runtime/hook.o \
	src/runtime/lifecycle.o \
	src/runtime/links.o \
	src/runtime/node_watch.o \
	src/runtime/groups.o \
	src/runtime/supervise.o \
	src/runtime/supervise_steps.o \
	src/runtime/supervise_relation.o \
	src/runtime/supervise_tree.o \
	src/runtime/turn.o \
	src/runtime/deeds.o \
	src/runtime/checkout.o \
	src/runtime/complete.o \
	src/runtime/lease_sweep.o \
	src/runtime/call.o \
	src/runtime/ask.o \
	src/runtime/sweep.o \
	src/runtime/timing.o \
	src/runtime/timer.o \
	src/runtime/grid.o \
	src/runtime/fire.o \
	src/runtime/worker.o \
	src/runtime/steward.o \
	src/runtime/launcher.o \
	src/runtime/guard.o \
	src/runtime/prepared.o \
	src/cluster/prepared_files.o \
	src/cluster/map.o \
	src/cluster/conninfo.o \
	src/cluster/node.o \
	src/cluster/parallel_mark.o \
	src/cluster/epoch.o \
	src/cluster/arrival.o \
	src/cluster/farewell.o \
	src/cluster/fence.o \
	src/cluster/ballot.o \
	src/cluster/give.o \
	src/cluster/settle.o \
	src/cluster/panel.o \
	src/cluster/round.o \
	src/cluster/member.o \
	src/cluster/location.o \
	src/cluster/peer_stat.o \
	src/cluster/peer_wait.o \
	src/cluster/peer_io.o \
	src/cluster/peer_answer.o \
	src/cluster/peer_settings.o \
	src/cluster/peer_connect.o \
	src/cluster/peer_greet.o \
	src/cluster/peer.o \
	src/cluster/identity.o \
	src/cluster/fault.o \
	src/cluster/decision.o \
	src/cluster/life.o \
	src/cluster/resolver_board.o \
	src/cluster/waits.o \
	src/cluster/victim.o \
	src/cluster/global_guard.o \
	src/cluster/global_commit.o \
	src/cluster/global_last.o \
	src/cluster/global_undo.o \
	src/cluster/global_before.o \
	src/cluster/global.o \
	src/cluster/caller.o \
	src/cluster/row_wire.o \
	src/cluster/route.o \
	src/cluster/route_stream.o \
	src/cluster/registry.o \
	src/cluster/deadlock_look.o \
	src/cluster/deadlock.o \
	src/cluster/catch_up.o \
	src/cluster/transit.o \
	src/cluster/handover.o \
	src/cluster/haul.o \
	src/cluster/haul_load.o \
	src/cluster/haul_take.o \
	src/cluster/wal_ahead.o \
	src/cluster/copied.o \
	src/cluster/page_slots.o \
	src/cluster/plan.o \
	src/cluster/mover.o \
	src/cluster/leave.o \
	src/cluster/force.o \
	src/cluster/verdict.o \
	src/cluster/resolve.o \
	src/cluster/lane.o \
	src/cluster/lane_prepared.o \
	src/cluster/forwarder_start.o \
	src/cluster/outbox_rows.o \
	src/cluster/outbox.o \
	src/cluster/timer_wire.o \
	src/cluster/signing.o \
	src/cluster/admission.o \
	src/cluster/deliver.o \
	src/cluster/late_flush.o \
	src/cluster/forwarder_resume.o \
	src/cluster/forwarder.o \
	src/cluster/health_board.o \
	src/cluster/probe.o \
	src/cluster/health.o \
	src/cluster/seed_address.o \
	src/cluster/seed_place.o \
	src/cluster/seed_search.o \
	src/cluster/seeds.o \
	src/cluster/resolver.o \
	src/api/args.o \
	src/api/errand.o \
	src/api/local_state.o \
	src/api/state.o \
	src/api/sets.o \
	src/api/read_there.o \
	src/api/scan_there.o \
	src/api/write_there.o \
	src/api/local_sets.o \
	src/api/state_sets.o \
	src/api/types.o \
	src/api/subscription.o \
	src/api/subscribe.o \
	src/api/present.o \
	src/api/fetch.o \
	src/api/messages.o \
	src/api/timer_there.o \
	src/api/timers.o \
	src/api/inside.o \
	src/api/ask_there.o \
	src/api/chore.o \
	src/api/groups.o \
	src/api/spawn.o \
	src/api/ask.o \
	src/api/outside_json.o \
	src/api/outside.o \
	src/api/operate.o \
	src/api/placement.o \
	src/api/members.o \
	src/api/rebalance.o \
	src/api/supervise_there.o \
	src/api/supervision.o \
	src/api/stats.o \
	src/api/watch.o \
	src/api/vclock.o \
	src/api/nodes.o \
	src/api/execute.o \
	src/api/restore_point.o \
	src/api/statement.o \
	src/actorstore.o

# Every function called by PostgreSQL has the arguments PostgreSQL prescribes, needed or not: PG_FUNCTION_ARGS, hooks,
# callbacks, and inline functions in the server's own headers. So -Wextra goes without unused-parameter.
#
# The server's flags and pg_config.h were made for the compiler that built it, mostly gcc: clang does not know all of
# the flags, nor the attribute gnu_printf. The last flag is what PostgreSQL 18 asks of gcc.
CLANG_NOISE = -Wno-unknown-warning-option -Wno-ignored-optimization-argument -Wno-ignored-attributes
PG_CPPFLAGS = -I$(srcdir)/src -I$(libpq_srcdir) -DAS_VERSION='"$(EXTVERSION)"'
SHLIB_LINK  = $(libpq) $(if $(filter linux darwin,$(PORTNAME)),-lresolv)
PG_CFLAGS   = -Wall -Wextra -Wno-unused-parameter
PG_CFLAGS  += $(if $(findstring clang,$(shell $(CC) --version)),$(CLANG_NOISE) -Wmissing-variable-declarations)
PG_CFLAGS  += $(if $(filter 1,$(WERROR)),-Werror)

# No bitcode for the JIT compiler: nothing here is inlined into expressions, and clang is not needed to build.
override with_llvm = no

# `make installcheck` tests an installed extension in a running server with test/actorstore.conf's settings.
REGRESS_FILES  = $(filter-out $(addprefix $(srcdir)/,$(DATA)),$(sort $(wildcard $(srcdir)/sql/*.sql)))
REGRESS        = $(REGRESS_FILES:$(srcdir)/sql/%.sql=%)
REGRESS_OPTS   = --load-extension=actorstore
ISOLATION      = $(patsubst $(srcdir)/test/specs/%.spec,%,$(sort $(wildcard $(srcdir)/test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(srcdir)/test --load-extension=actorstore
TAP_TESTS      = 1
PROVE_TESTS    = test/t/*.pl
EXTRA_CLEAN    = examples/flights/replay tmp/check tmp/faults

.DEFAULT_GOAL := all

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifneq ($(wildcard $(PGXS)),)
include $(PGXS)

# PGXS knows nothing of headers: any change of one builds everything again.
$(OBJS): $(srcdir)/Makefile $(wildcard $(srcdir)/src/*.h $(srcdir)/src/*/*.h)

# Built outside of the source tree (make -f .../Makefile), the objects need their directories.
ifneq ($(srcdir),.)
$(shell mkdir -p $(sort $(dir $(OBJS))))
endif

# A copy of the server under tmp/, with the extension in it.
.PHONY: private-server
private-server:
	@echo "actorstore: building"
	@$(MAKE) -s all
	@tree=$$(scripts/private-server) && $(MAKE) -s install DESTDIR="$$tree"

# For tests: the same library with places where a transaction over several nodes can be stopped (src/cluster/fault.h) and
# with functions of test/stray, which call what the library shows to nobody, in a copy of the private server.
FAULT_OBJS = $(patsubst src/cluster/%.o,tmp/faults/%.o,$(filter src/cluster/%.o,$(OBJS)))

$(FAULT_OBJS): tmp/faults/%.o: $(srcdir)/src/cluster/%.c $(srcdir)/Makefile $(wildcard $(srcdir)/src/*.h $(srcdir)/src/*/*.h)
	@mkdir -p tmp/faults
	$(CC) $(CFLAGS) $(CPPFLAGS) -DACTORSTORE_FAULTS -c -o $@ $<

tmp/faults/stray.o: $(srcdir)/test/stray/stray.c $(srcdir)/Makefile $(wildcard $(srcdir)/src/*.h $(srcdir)/src/*/*.h)
	@mkdir -p tmp/faults
	$(CC) $(CFLAGS) $(CPPFLAGS) -c -o $@ $<

tmp/faults/actorstore.so: $(OBJS) $(FAULT_OBJS) tmp/faults/stray.o
	$(CC) $(CFLAGS) -shared -o $@ $(filter-out src/cluster/%.o,$(OBJS)) $(FAULT_OBJS) tmp/faults/stray.o $(LDFLAGS) $(LDFLAGS_SL) $(SHLIB_LINK)

.PHONY: fault-server
fault-server: tmp/faults/actorstore.so
	@tree=$$(scripts/private-server) && rm -rf "$$tree-faults" && cp -al "$$tree" "$$tree-faults" && \
		rm -f "$$tree-faults$(pkglibdir)/actorstore.so" && \
		cp tmp/faults/actorstore.so "$$tree-faults$(pkglibdir)" && chmod 755 "$$tree-faults$(pkglibdir)/actorstore.so"

# The demo's client program.
examples/flights/replay: examples/flights/replay.c
	$(CC) $(CFLAGS) -I$(includedir) $< -o $@ -L$(libdir) -lpq
	@chmod 755 $@

else

srcdir = .

.PHONY: all install installcheck uninstall clean private-server examples/flights/replay
all install installcheck uninstall clean private-server examples/flights/replay:
	@echo "$(PG_CONFIG) leads to no PGXS, PostgreSQL's files for building extensions." >&2
	@echo "Install them (Debian: postgresql-server-dev-NN; scripts/install-deps does), or set PG_CONFIG." >&2
	@exit 1

endif

# ---- Checks of the source ------------------------------------------------------------------------------------------

.PHONY: floors checkver dist checkdist
floors:
	@scripts/floors

checkver:
	@scripts/checkver '$(EXTVERSION)'

# tmp/actorstore-1.0.0.zip for PGXN, of what is committed; is it what PGXN asks for, and does it build?
dist:
	@scripts/dist

checkdist:
	@scripts/dist check

endif
