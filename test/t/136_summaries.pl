# An administrator's BRIN index on a table of the extension.  Since PostgreSQL 16 a row that changes in nothing but what such an
# index summarizes stays where its other index entries lead to: no more of them are made, and the summary hears of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('summaries');
new_database_with_actors($node, 'd');

plan skip_all => 'the server has no pageinspect' unless $node->safe_psql('d', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pageinspect'});

my $is_summarized = $node->safe_psql('d', 'SHOW server_version_num') >= 160000;

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql); }

sub entries
{
	my ($index) = @_;
	return sql("SELECT count(*) FROM bt_page_items('actorstore.$index', 1)");
}

# Of leases, what the summary finds, which is asked whatever that costs.
my $search = q{FROM actorstore.lease WHERE lease_until > now() + interval '30 min'};
sub found { my ($what) = @_; return sql("SET enable_seqscan = off; SET enable_indexscan = off; $what $search"); }

sql(q{CREATE EXTENSION pageinspect;
	SELECT actorstore.create_type('out'), actorstore.set_handler('out', '*', 'actorstore.outside(jsonb, jsonb)');
	CREATE INDEX lease_summary ON actorstore.lease USING brin (lease_until)});
sql(q{SELECT actorstore.send('out', 'a', 'go')});
is(sql(q{SELECT count(*) FROM actorstore.checkout('w', '{out}', lease => '1 min', max_wait => '60 s')}), 1, 'a turn is checked out');
is(entries('lease_turn'), 1, 'it has an index entry');
sql(q{SELECT brin_summarize_new_values('actorstore.lease_summary')});
like(found('EXPLAIN (COSTS OFF) SELECT'), qr/Bitmap Index Scan on lease_summary/, 'the summary is asked');
is(found('SELECT count(*)'), 0, 'the lease is short');

sql(q{SELECT actorstore.extend_lease(turn_id, token, '1 h') FROM actorstore.lease}) foreach 1 .. 3;
is(found('SELECT count(*)'), 1, 'the summary has heard of a longer one');
is(entries('lease_turn'), $is_summarized ? 1 : 4, 'an entry is made where the row cannot stay behind the one that there is');
is(sql(q{SELECT count(*) FROM actorstore.lease AS l, actorstore.complete(l.turn_id, l.token, '{"done": true}')}), 1, 'the turn is found by it, and ends');
is(sql(q{SELECT value FROM actorstore.get('out', 'a')}), '{"done": true}', 'with its state');
done_testing();
