-- On each member, primary or standby: Patroni 3.0 leaves out a setting that it does not know.
SELECT count(*) > 0 AS known FROM pg_settings WHERE name = 'output_plugin_libraries' \gset
\if :known
ALTER SYSTEM SET output_plugin_libraries = pgoutput, test_decoding, actorstore;
SELECT pg_reload_conf() \g /dev/null
\endif
