-- Checks of the clock columns. They say the same as package catalog/schedule does; a test holds the two
-- against each other. NULL means valid, anything else is the reason in words.

CREATE FUNCTION mvscheduler.interval_error(value interval) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN NOT pg_catalog.isfinite(value) THEN 'it must be finite'
    WHEN extract(year FROM value) <> 0 OR extract(month FROM value) <> 0 THEN 'months and years have no fixed length: use days, or cron'
    WHEN value <= interval '0' THEN 'it must be positive'
    WHEN extract(epoch FROM value) > 3653 * 86400 THEN 'it must not be longer than ten years'
END;
COMMENT ON FUNCTION mvscheduler.interval_error(interval) IS 'Why an interval cannot be a clock; NULL when it can.';

-- pg_timezone_names lists exactly the IANA names; the type timestamptz itself takes abbreviations and
-- POSIX rules as well, which mean other offsets than people think.
CREATE FUNCTION mvscheduler.timezone_error(name text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'   -- and back at the end
AS $$
DECLARE
    near text;
BEGIN
    IF name = 'UTC' THEN
        RETURN NULL;
    ELSIF name IS NULL THEN
        RETURN 'it is NULL';
    ELSIF name ~ '^(posix|right)/' OR name IN ('localtime', 'posixrules', 'Factory') THEN
        RETURN 'it is not the name of a place';
    END IF;
    -- pg_timezone_names reads 600 files. The server spells a zone that it knows; what has digits could be
    -- an offset in POSIX' own notation.
    IF name ~ '^[A-Za-z_]+(/[A-Za-z_]+)*$' THEN
        BEGIN
            IF set_config('TimeZone', name, true) = name THEN
                RETURN NULL;
            END IF;
        EXCEPTION WHEN invalid_parameter_value THEN
            NULL;   -- which zone is near is asked below
        END;
    END IF;
    SELECT z.name INTO near
      FROM pg_timezone_names AS z
     WHERE lower(z.name) = lower(timezone_error.name)
     ORDER BY z.name = timezone_error.name DESC
     LIMIT 1;
    RETURN CASE WHEN near = name THEN NULL
                WHEN near IS NOT NULL THEN format('it is spelt %s', near)
                ELSE 'this server knows no such time zone' END;
END $$;
COMMENT ON FUNCTION mvscheduler.timezone_error(text) IS 'Why a time zone cannot be that of a view; NULL when it can.';

CREATE FUNCTION mvscheduler.cron_field(field text, title text, least_value integer, most_value integer, names text[],
                                       OUT vals integer[], OUT error text)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part   text;
    m      text[];
    bounds integer[];
    value  text;
    step   integer;
    size   integer;
BEGIN
    vals := '{}';
    FOREACH part IN ARRAY string_to_array(field, ',') LOOP
        m := regexp_match(part, '^(?:([*?])|([0-9]{1,2}|[A-Za-z]{3})(?:-([0-9]{1,2}|[A-Za-z]{3}))?)(?:/([0-9]{1,3}))?$');
        IF m IS NULL THEN
            error := format('%s: "%s" is not a value, a range or a step', title, part);
            RETURN;
        END IF;
        bounds := ARRAY[least_value, most_value];
        IF m[1] IS NULL THEN
            FOREACH value IN ARRAY ARRAY[m[2], coalesce(m[3], m[2])] LOOP
                IF value ~ '^[0-9]+$' THEN
                    bounds := bounds || value::integer;
                ELSIF array_position(names, lower(value)) IS NOT NULL THEN
                    bounds := bounds || (array_position(names, lower(value)) - 1 + least_value);
                ELSE
                    error := format('%s: "%s" is not a name', title, value);
                    RETURN;
                END IF;
            END LOOP;
            bounds := bounds[3:4];
            IF m[3] IS NULL AND m[4] IS NOT NULL THEN
                bounds[2] := most_value;
            END IF;
        END IF;
        IF least(bounds[1], bounds[2]) < least_value OR greatest(bounds[1], bounds[2]) > most_value THEN
            error := format('%s: "%s" is not within %s to %s', title, part, least_value, most_value);
            RETURN;
        END IF;
        step := coalesce(m[4]::integer, 1);
        size := bounds[2] - bounds[1] + 1 + CASE WHEN bounds[2] < bounds[1] THEN most_value - least_value + 1 ELSE 0 END;
        IF step = 0 OR step > 1 AND step >= size THEN
            error := format('%s: a step of %s does not fit into "%s"', title, step, part);
            RETURN;
        END IF;
        vals := vals || ARRAY(SELECT (bounds[1] + i - least_value) % (most_value - least_value + 1) + least_value
                                FROM generate_series(0, size - 1, step) AS i);
    END LOOP;
END $$;
COMMENT ON FUNCTION mvscheduler.cron_field(text, text, integer, integer, text[]) IS 'Values that one field of a cron line names, or what is wrong with it.';

CREATE FUNCTION mvscheduler.cron_error(line text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on
AS $$
DECLARE
    fields text[] := regexp_split_to_array(btrim(line, E' \t'), E'[ \t]+');
    f      record;
    days   integer[];
    months integer[];
BEGIN
    IF octet_length(line) > 200 THEN
        RETURN 'it is longer than 200 characters';
    ELSIF btrim(line, E' \t') = '' OR cardinality(fields) <> 5 THEN
        RETURN format('it has %s fields, cron has five', CASE WHEN btrim(line, E' \t') = '' THEN 0 ELSE cardinality(fields) END);
    END IF;
    FOR f IN
        SELECT c.vals, c.error, d.n
          FROM (VALUES (1, 'minute', 0, 59, NULL::text[]),
                       (2, 'hour', 0, 23, NULL),
                       (3, 'day of month', 1, 31, NULL),
                       (4, 'month', 1, 12, '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}'),
                       (5, 'day of week', 0, 7, '{sun,mon,tue,wed,thu,fri,sat}')) AS d(n, title, lo, hi, names),
               LATERAL mvscheduler.cron_field(fields[d.n], d.title, d.lo, d.hi, d.names) AS c
         ORDER BY d.n
    LOOP
        IF f.error IS NOT NULL THEN
            RETURN f.error;
        ELSIF f.n = 3 THEN
            days := f.vals;
        ELSIF f.n = 4 THEN
            months := f.vals;
        END IF;
    END LOOP;
    -- A weekday comes in every month; a day of the month may not.
    IF fields[5] ~ '(^|,)[*?](/1)?(,|$)' AND fields[3] !~ '(^|,)[*?](/1)?(,|$)'
       AND NOT EXISTS (SELECT FROM unnest(days) AS d, unnest(months) AS m
                        WHERE d <= CASE WHEN m = 2 THEN 29 WHEN m IN (4, 6, 9, 11) THEN 30 ELSE 31 END) THEN
        RETURN 'there is no such day in any year, it would never fire';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.cron_error(text) IS 'Why a text is not a cron line; NULL when it is one.';

CREATE FUNCTION mvscheduler.wall_minute(value text, most integer) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN (SELECT CASE WHEN m[1]::integer * 60 + m[2]::integer <= most THEN m[1]::integer * 60 + m[2]::integer END
          FROM regexp_match(value, '^([0-9]{1,2}):([0-5][0-9])$') AS m);
COMMENT ON FUNCTION mvscheduler.wall_minute(text, integer) IS 'Minutes since midnight of a time of day such as 07:00; NULL where it is none, or later than most.';

CREATE FUNCTION mvscheduler.calendar_error(rules jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    names CONSTANT text[] := '{mon,tue,wed,thu,fri,sat,sun}';
    known CONSTANT text[] := '{days,from,to,every,at}';
    rule  jsonb;
    n     integer := 0;
    key   text;
    part  text;
    m     text[];
BEGIN
    IF jsonb_typeof(rules) <> 'array' THEN
        RETURN 'it must be a list of rules such as [{"days": "mon-fri", "from": "07:00", "to": "19:00", "every": "30 minutes"}, {"days": "sat,sun", "at": "06:45"}]';
    ELSIF jsonb_array_length(rules) = 0 THEN
        RETURN 'it has no rules: NULL is no calendar';
    ELSIF jsonb_array_length(rules) > 50 THEN
        RETURN format('it has %s rules: at most 50 are kept', jsonb_array_length(rules));
    END IF;
    FOR rule IN SELECT e FROM jsonb_array_elements(rules) AS e LOOP
        n := n + 1;
        IF jsonb_typeof(rule) <> 'object' THEN
            RETURN format('rule %s: it must be an object with days, from, to and every, or with days and at', n);
        END IF;
        FOR key IN SELECT k FROM jsonb_object_keys(rule) AS k LOOP
            IF key <> ALL (known) THEN
                RETURN format('rule %s: "%s" is none of days, from, to, every and at', n, left(key, 40));
            END IF;
        END LOOP;
        FOREACH key IN ARRAY known LOOP
            IF jsonb_typeof(rule -> key) <> 'string' THEN
                RETURN format('rule %s: %s must be text: leave it out, or write it in quotes', n, key);
            END IF;
        END LOOP;
        IF rule ? 'at' AND rule ?| '{from,to,every}' THEN
            RETURN format('rule %s: at goes with days alone: leave out from, to and every, or leave out at', n);
        ELSIF NOT rule ?| '{at,every}' THEN
            RETURN format('rule %s: it does not say when: add "every": "30 minutes", or "at": "06:45" instead of from and to', n);
        END IF;

        FOREACH part IN ARRAY string_to_array(coalesce(nullif(rule ->> 'days', ''), CASE WHEN rule ? 'days' THEN ' ' ELSE 'mon-sun' END), ',') LOOP
            part := btrim(part, ' ');
            m := regexp_match(translate(part, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'), '^([a-z]{3})(?:-([a-z]{3}))?$');
            IF (array_position(names, m[1]) <= array_position(names, coalesce(m[2], m[1]))) IS NOT TRUE THEN
                RETURN format('rule %s: days: "%s" is no day and no range of days from mon to sun: write them such as mon-fri or sat,sun', n, left(part, 40));
            END IF;
        END LOOP;
        FOREACH key IN ARRAY '{at,from,to}'::text[] LOOP
            IF rule ? key AND mvscheduler.wall_minute(rule ->> key, CASE key WHEN 'to' THEN 1440 ELSE 1439 END) IS NULL THEN
                RETURN format('rule %s: %s: "%s" is no time of day up to %s, such as 07:00', n, key, left(rule ->> key, 40), CASE key WHEN 'to' THEN '24:00' ELSE '23:59' END);
            END IF;
        END LOOP;
        CONTINUE WHEN rule ? 'at';
        IF mvscheduler.wall_minute(coalesce(rule ->> 'from', '00:00'), 1439) >= mvscheduler.wall_minute(coalesce(rule ->> 'to', '24:00'), 1440) THEN
            RETURN format('rule %s: from %s is not before to %s: over midnight it takes two rules', n,
                          lpad(coalesce(rule ->> 'from', '00:00'), 5, '0'), lpad(coalesce(rule ->> 'to', '24:00'), 5, '0'));
        END IF;
        m := regexp_match(rule ->> 'every', '^([0-9]{1,4}) (minute|hour|day)s?$');
        IF (m[1]::integer * CASE m[2] WHEN 'minute' THEN 1 WHEN 'hour' THEN 60 ELSE 1440 END BETWEEN 1 AND 1440) IS NOT TRUE THEN
            RETURN format('rule %s: every: "%s" is no interval from 1 minute to 1 day, such as 30 minutes or 2 hours', n, left(rule ->> 'every', 40));
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mvscheduler.calendar_error(jsonb) IS 'Why a list of rules is not a calendar; NULL when it is one.';
