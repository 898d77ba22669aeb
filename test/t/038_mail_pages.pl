# Workers remember in which buffer a page of messages was: here it never is there any more, or the page is that of an earlier
# file of the table.  All messages are handled once, in their order, as if nobody remembered anything.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use Test::More;

my $node = new_node('pages', settings => "shared_buffers = 1MB\nactorstore.workers = 2");
new_database_with_actors($node, 'd');

sub sql { my ($sql) = @_; return $node->safe_psql('d', $sql, kept => 1); }

my ($actors, $each) = (100, 200);

# The state is the last body; every body is one more than the one before.
sql(q{
CREATE FUNCTION count_up(state jsonb, body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF (body->>'n')::int <> coalesce(state::int, 0) + 1 THEN
		RAISE EXCEPTION '% after %', body->>'n', state;
	END IF;
	RETURN body->'n';
END $$;
SELECT actorstore.create_type('t', mailbox_limit => 2000000000), actorstore.set_handler('t', '*', 'count_up(jsonb, jsonb)')});

sub pages { return sql(q{SELECT pg_relation_size('actorstore.message') / current_setting('block_size')::int}); }

# So many more for each actor, in turn: neighbours of one actor stand on pages far from each other.
sub fill
{
	my ($from, $to) = @_;

	sql(qq{
SELECT actorstore.pause('t');
DO \$\$
BEGIN
	FOR n IN $from .. $to LOOP
		PERFORM actorstore.send_many('t', array_agg(a::text), 'add', array_agg(jsonb_build_object('n', n, 'filler', repeat('x', 300))))
		FROM generate_series(1, $actors) AS a;
	END LOOP;
END \$\$});
	return;
}

sub is_counted
{
	my ($last, $what) = @_;

	ok(handled($node, 'd', 't'), "$what: all are handled");
	is(sql(q{SELECT count(*), min(value::int), max(value::int) FROM actorstore.get_all('t')}), "$actors|$last|$last", 'once each, in their order');
	is(sql(q{SELECT count(*) FROM actorstore.dead_letter}), 0, 'none has failed');
	return;
}

fill(1, $each);
cmp_ok(pages(), '>', 2 * sql(q{SELECT setting::int FROM pg_settings WHERE name = 'shared_buffers'}), 'far more pages than buffers');
sql(q{SELECT actorstore.resume('t')});
is_counted($each, 'pages come and go');

# The same numbers of pages, in another file.
fill($each + 1, $each + 50);
sql('VACUUM FULL actorstore.message');
sql(q{SELECT actorstore.resume('t')});
is_counted($each + 50, 'the table is another file');

# Pages that are there no more.
sql('VACUUM actorstore.message');
sql('VACUUM FULL actorstore.message');
is(pages(), 0, 'the table has no page');
sql(q{SELECT actorstore.resume('t')});
fill($each + 51, $each + 60);
sql(q{SELECT actorstore.resume('t')});
is_counted($each + 60, 'pages are made anew');

done_testing();
