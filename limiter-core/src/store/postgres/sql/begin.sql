-- What a rate limiter keeps: format {format}, routines {revision}. Whatever is there already stays.
SELECT pg_advisory_xact_lock({lock});

DO {body}
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = {schema_text}) THEN
        CREATE SCHEMA {schema};
    END IF;
END
{body};
