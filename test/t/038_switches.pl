# Settings that switch something off, and sizes that are rounded: all is handled all the same, and it is off.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('switches', settings => <<'END');
fsync = off
actorstore.workers = 1
actorstore.enable_batching = off
actorstore.enable_work_stealing = off
actorstore.max_spin_cycles = 0
actorstore.max_active_actors = 100
actorstore.worker_queue_capacity = 100
actorstore.global_queue_capacity = 100
END
new_database_with_actors($node, 'd');
sub sql { return $node->safe_psql('d', $_[0], kept => 1); }
sub counts { my ($what) = @_; return sql("SELECT sum($what) FROM actorstore.stat_workers"); }
sub quiet { ok(comes_true($node, 'd', q{(SELECT swept AND used_slots = 0 AND queued = 0 FROM actorstore.stat_scheduler) AND (SELECT bool_and(state = 'sleeping') FROM actorstore.stat_workers)}), $_[0]); return; }

sql(q{
	CREATE FUNCTION slow(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(body::float8); RETURN to_jsonb(1); END $$;
	CREATE FUNCTION fan_out(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM actorstore.send('slow', 'fan ' || i, 'm', '0.005') FROM generate_series(1, 50) AS i;
		RETURN to_jsonb(1);
	END $$;
	SELECT actorstore.create_type(t), actorstore.set_handler(t, 'm', f::regprocedure)
	FROM (VALUES ('many', 'collect(jsonb, jsonb)'), ('slow', 'slow(jsonb, jsonb)'), ('fan', 'fan_out(jsonb, jsonb)')) AS v (t, f)});
is(sql('SELECT slots FROM actorstore.stat_scheduler'), 128, 'sizes are rounded up');

# ---- Batching ----

# Fifty actors have mail at once; what one worker commits of it, and in how many turns.
sub fifty
{
	my ($name) = @_;

	quiet("$name: all is quiet");
	my ($commits, $turns) = map { counts($_) } 'commits', 'turns';
	sql(q{SELECT actorstore.pause('many')});
	sql(q{SELECT actorstore.send_many('many', array_agg(i::text), 'm', array_agg(to_jsonb(i))) FROM generate_series(1, 50) AS i});
	sql(q{SELECT actorstore.resume('many')});
	ok(handled($node, 'd', 'many'), "$name: all are handled");
	quiet("$name: and it is quiet again");
	is(counts('turns') - $turns, 50, "$name: in a turn each");
	return counts('commits') - $commits;
}
cmp_ok(fifty('batching is off'), '>=', 50, 'batching is off: each commits alone');
ok(set_everywhere($node, 'd', 'actorstore.enable_batching', 'on'), 'batching is on');
cmp_ok(fifty('batching is on'), '<', 50, 'batching is on: some commit together');
is(sql(q{SELECT count(*), min(jsonb_array_length(value)), max(version) FROM actorstore.get_all('many')}), '50|2|1', 'each message once');

# ---- Stealing ----

# One actor gives work to many, all of it by one worker, while the other one has none.
$node->append_conf('postgresql.conf', 'actorstore.workers = 2');
$node->restart;
foreach my $way ('off', 'on')
{
	ok(set_everywhere($node, 'd', 'actorstore.enable_work_stealing', $way), "stealing is $way");
	quiet("stealing is $way: all is quiet");
	my $stolen = counts('steals');
	foreach my $round (1 .. 5)
	{
		sql(q{SELECT actorstore.send('fan', 'a', 'm')});
		ok(handled($node, 'd', 'fan') && handled($node, 'd', 'slow'), "stealing is $way: handled");
		last if counts('steals') > $stolen;
	}
	cmp_ok(counts('steals') - $stolen, $way eq 'on' ? '>' : '==', 0, "stealing is $way: " . ($way eq 'on' ? 'some' : 'none') . ' was stolen');
}
$node->stop;
done_testing();
