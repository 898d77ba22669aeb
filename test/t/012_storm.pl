# Many clients put, delete, lock and count the same few actors at once, each
# call a transaction: none may fail, whatever the others do, and every counted
# write is there in the end.  On a plain partition, on one with an index and a
# trigger of the user's, and on the shared one; with the library preloaded
# and without.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my ($clients, $transactions) = (8, 400);

# One transaction of each client; :id and :other are one of three.
my $script = q{
\set id random(1, 3)
\set other random(1, 3)
SELECT actorstore.put('TYPE', 'k' || (:id)::text, (:client_id)::text::jsonb);
SELECT actorstore.delete('TYPE', 'k' || (:other)::text);
SELECT actorstore.put('TYPE', 'k' || (:other)::text, (:id)::text::jsonb);
SELECT actorstore.put_many('TYPE', '{k3,k1,new,k2}', '{1,2,3,4}');
SELECT actorstore.delete('TYPE', 'new');
SELECT actorstore.put_many('TYPE', '{k1,k2,new,k3}', '{1,2,3,4}');
SELECT actorstore.get_many('TYPE', '{new,k3,k2,k1}', 'update');
SELECT actorstore.get_many('TYPE', '{k1,new}', 'share');
SELECT actorstore.compare_and_swap('TYPE', 'k' || (:id)::text, :other, '5');
SELECT actorstore.update('TYPE', 'counter', (:client_id)::text::jsonb);
SELECT actorstore.patch('TYPE', 'counter', '{"a": 1}');
SELECT actorstore.put('TYPE', 'counter', '0');
SELECT actorstore.get('TYPE', 'k' || (:id)::text);
SELECT count(*) FROM actorstore.list('TYPE');
};

foreach my $preload (1, 0)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_node("storm_$preload", preload => $preload, settings => "fsync = off\nsynchronous_commit = off\nautovacuum = on\nautovacuum_naptime = 1s\ndeadlock_timeout = 10ms");
	new_database($node, 'd');
	$node->safe_psql('d', q{
		SELECT actorstore.create_type('plain'), actorstore.create_type('dressed');
		SELECT actorstore.insert(t, 'counter', '0') IS NULL FROM unnest(ARRAY['plain', 'dressed', 'loose']) AS t;
		CREATE INDEX ON actorstore.actor_dressed ((value #>> '{}'));
		CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE TRIGGER nothing AFTER INSERT OR UPDATE OR DELETE ON actorstore.actor_dressed FOR EACH ROW EXECUTE FUNCTION nothing();
	});
	foreach my $type ('plain', 'dressed', 'loose')
	{
		my $file = PostgreSQL::Test::Utils::tempdir . '/script';
		my ($stdout, $stderr) = ('', '');

		append_to_file($file, $script =~ s/TYPE/$type/gr);
		my $status = IPC::Run::run(
			[ 'pgbench', '-n', '-M', 'prepared', '-c', $clients, '-j', 2, '-t', $transactions, '-f', $file, '-h', $node->host, '-p', $node->port, 'd' ],
			'>', \$stdout, '2>', \$stderr);
		ok($status, "$how: $type: pgbench succeeds");
		is(join("\n", grep { /error|aborted/i } split /\n/, $stderr), '', "$how: $type: no call has failed");
		like($stdout, qr|actually processed: @{[ $clients * $transactions ]}/|, "$how: $type: all transactions were run");
		is($node->safe_psql('d', "SELECT version FROM actorstore.get('$type', 'counter')"), 3 * $clients * $transactions, "$how: $type: each write of the counter counts");
		is($node->safe_psql('d', "SELECT string_agg(actor_id, ' ') FROM actorstore.list('$type')"), 'counter k1 k2 k3 new', "$how: $type: each actor is there once");
		is($node->safe_psql('d', "SET enable_seqscan = off; SELECT count(*) FROM actorstore.actor WHERE actor_type = '$type' AND actor_id >= ''"), 5, "$how: $type: by the index, too");
	}
	$node->stop;
}

done_testing();
