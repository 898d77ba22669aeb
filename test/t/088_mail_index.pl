# The index of messages does not grow with what has been handled, though some
# snapshot was open for a while, and no vacuum comes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my ($actors, $messages) = (200, 400);
my $node = new_node('mail_index', settings => "actorstore.workers = 2\nmax_worker_processes = 16\nautovacuum = off\nfsync = off");
new_database_with_actors($node, 'd');

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql); }
sub pages { return sql(q{SELECT pg_relation_size('actorstore.message_key') / 8192}); }
# Each message goes from actor to actor so many times.
sub hops
{
	my ($n) = @_;

	sql("SELECT actorstore.send_many('hop', array_agg((i % $actors)::text), 'hop', array_agg('$n'::jsonb)) FROM generate_series(1, $messages) AS i");
	# each look with a snapshot of its own, that is closed at once
	$node->poll_query_until('d', 'SELECT count(*) = 0 FROM actorstore.message') or die 'not handled';
	return;
}

sql(qq{CREATE FUNCTION hop(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
	BEGIN
		IF body > '1' THEN
			PERFORM actorstore.send('hop', (((actorstore.context()).actor_id::int * 7 + body::int) % $actors)::text, 'hop', to_jsonb(body::int - 1));
		END IF;
		RETURN to_jsonb(coalesce(state::int, 0) + 1);
	END \$\$;
	SELECT actorstore.create_type('hop'), actorstore.set_handler('hop', 'hop', 'hop(jsonb, jsonb)')});

my $old = ActorstoreTest::Session->new($node, 'd');
$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
$old->query('SELECT count(*) FROM pg_class');
hops(25);
my $before = pages();
$old->query('COMMIT');
hops(150);
my $after = pages();
note("$before pages while a snapshot was open, $after after six times as many messages");
is(sql(q{SELECT sum(value::int) FROM actorstore.get_all('hop')}), $messages * 175, 'all messages are handled, once');
cmp_ok($after, '<=', 1.5 * $before, 'the index has not grown by what was handled afterwards');

$node->stop;
done_testing();
