# Pages that the disk has spoiled, in a cluster with checksums: whoever wants what is on them gets an error, XX001, and nobody is given
# anything else than what was written; what is on other pages is read, written and handled as ever; nothing crashes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use ActorstoreTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('damaged', settings => "actorstore.workers = 2\nrestart_after_crash = off\nwal_level = logical\nfull_page_writes = on", plugins => 'actorstore');
new_database_with_actors($node, 'd');
sub sql { return $node->safe_psql('d', $_[0]); }
if (sql('SHOW data_checksums') eq 'off')
{
	$node->stop;
	PostgreSQL::Test::Utils::system_or_bail('pg_checksums', '--enable', '--no-sync', '--pgdata', $node->data_dir);
	$node->start;
}
is(sql('SHOW data_checksums'), 'on', 'pages have checksums');

sql(q{
	SELECT actorstore.create_type(t, max_attempts => 2, backoff => '10 ms') FROM unnest('{thing,other}'::text[]) AS t;
	SELECT actorstore.set_handler(t, 'add', 'public.collect(jsonb, jsonb)') FROM unnest('{thing,other}'::text[]) AS t;
	SELECT actorstore.insert_many(t, array_agg('a' || i), array_agg(to_jsonb(ARRAY[repeat(i::text, 50)]))) FROM unnest('{thing,other}'::text[]) AS t, generate_series(1, 500) AS i GROUP BY t});
sql(q{SELECT actorstore.pause('thing'), actorstore.pause('other')});
sql(q{SELECT count(actorstore.send('other', 'a' || i, 'add', to_jsonb(repeat('m', 300)))) FROM generate_series(1, 100) AS i});
sql('CHECKPOINT');

# Turn a byte in the middle of a page of a table, which nobody has in memory then.
sub spoil
{
	my ($table, $page) = @_;
	my $file = $node->data_dir . '/' . sql("SELECT pg_relation_filepath('$table')");

	$node->stop;
	open my $handle, '+<:raw', $file or die "$file: $!";
	seek $handle, 8192 * $page + 5000, 0;
	read($handle, my $byte, 1) == 1 or die "$file: too short";
	seek $handle, 8192 * $page + 5000, 0;
	print $handle chr(ord($byte) ^ 0x10);
	close $handle or die "$file: $!";
	$node->start;
	return;
}

# ---- A page of actors ----

my $on_it = q{FROM actorstore.actor_thing WHERE (ctid::text::point)[0] = 3};
my $n = sql("SELECT count(*) $on_it");
my ($lost, $last) = split /\|/, sql("SELECT min(actor_id), max(actor_id) $on_it");
my $before = sql(q{SELECT string_agg(actor_id || value, '' ORDER BY actor_id) FROM actorstore.actor_thing WHERE (ctid::text::point)[0] <> 3});
my @fine = rows($node, 'd', q{SELECT actor_id FROM actorstore.actor_thing WHERE (ctid::text::point)[0] <> 3});
cmp_ok($n, '>', 2, 'actors on a page');
spoil('actorstore.actor_thing', 3);
is(sqlstate($node, 'd', "SELECT actorstore.$_"), 'XX001', "damaged: $_")
  foreach "get('thing', '$lost')", "put('thing', '$lost', '1')", "update('thing', '$last', '1')", "compare_and_swap('thing', '$lost', 0, '1')", "delete('thing', '$lost')",
  "insert('thing', '$lost', '1')", "get_many('thing', '{a1,$lost}')", "get_many('thing', '{$last}', 'update')", "put_many('thing', '{a1,$last}', '{1,1}')", "get_all('thing')";
is(sql(sprintf q{SELECT string_agg(actor_id || value, '' ORDER BY actor_id) FROM actorstore.get_many('thing', '{%s}')}, join ',', @fine), $before, 'all others are there, as they were');
is(sql("SELECT version FROM actorstore.put('thing', '$fine[0]', '[]')"), '1', 'and are written');
is(sql(q{SELECT count(*) FROM actorstore.get_all('other')}), '500', 'as is another type');

# What is sent to those on the page cannot be handled; the others' mail is.
sql("SELECT actorstore.send('thing', id, 'add', '1') FROM unnest('{$lost,$fine[0],$last,$fine[1]}'::text[]) AS id");
is(sql(q{SELECT actorstore.resume('thing')}), 't', 'mail is handled');
is(sqlstate($node, 'd', "SELECT actorstore.$_('thing', '$last', 'add', '1')"), 'XX001', "damaged: $_") foreach 'ask', 'call';
ok(handled($node, 'd', 'thing'), 'all of it');
is(sql(q{SELECT string_agg(actor_id || ' ' || reason || ' ' || sqlstate, ', ' ORDER BY message_id) FROM actorstore.dead_letter}), "$lost exhausted XX001, $last exhausted XX001", 'what cannot be is a dead letter, which says why');
is(sql("SELECT value FROM actorstore.get('thing', '$fine[0]')"), '[1]', 'the others have got theirs');

# Who has a copy of these actors can put them back.
is(sqlstate($node, 'd', "SET zero_damaged_pages = on; SELECT count(*) FROM actorstore.actor_thing"), '00000', 'an administrator gives the page up');
sql('SET zero_damaged_pages = on; VACUUM (DISABLE_PAGE_SKIPPING) actorstore.actor_thing');
is(sql("SELECT version FROM actorstore.put('thing', '$lost', '\"again\"')"), '0', 'an actor that was on it begins anew');
is(sql(q{SELECT actorstore.redrive('thing') > 0}), 't', 'its dead letter is sent once more');
ok(handled($node, 'd', 'thing'), 'and handled');
is(sql("SELECT value FROM actorstore.get('thing', '$lost')"), '["again", 1]', 'as it should be');

# ---- A page of mail ----

my $spoilt = sql(q{SELECT count(*) FROM actorstore.message WHERE (ctid::text::point)[0] = 1});
cmp_ok($spoilt, '>', 2, 'messages on a page');
spoil('actorstore.message', 1);
sql(q{SELECT actorstore.send('thing', 'new', 'add', '1')});
ok(comes_true($node, 'd', q{(SELECT value FROM actorstore.get('thing', 'new')) = '[1]'}), 'a page of mail is damaged: what is sent now is handled');
sql(q{SELECT actorstore.resume('other')});
is(sql('SET zero_damaged_pages = on; VACUUM (DISABLE_PAGE_SKIPPING) actorstore.message'), '', 'an administrator gives it up');
ok(handled($node, 'd', 'other'), 'all else that has waited is handled');
is(sql(q{SELECT count(*) FROM actorstore.actor_other WHERE version = 1 AND jsonb_array_length(value) = 2}), 100 - $spoilt, 'once each');
is(sql(q{SELECT count(*) FROM actorstore.actor_other WHERE version = 0 AND jsonb_array_length(value) = 1}), 400 + $spoilt, 'and nothing else was changed');

$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing has crashed');
done_testing();
