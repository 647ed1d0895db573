-- How text is taken apart where PostgreSQL is searched because the index is away.

-- PostgreSQL's parser has tokens for paths, addresses of mail, tags and numbers with signs, which nobody finds by their words
-- and an index has no such tokens for. So the signs they are made of are spaces to it, and each character of a script without
-- spaces is a word. No more signs than these: each makes the taking apart slower. One expression, so that it is inlined and
-- costs text of ASCII little; written alike whatever `standard_conforming_strings` says.
create function outbox.words(text text) returns text
language sql immutable parallel safe as $$
    select case
        when pg_catalog.octet_length(text) OPERATOR(pg_catalog.=) pg_catalog.char_length(text)
        then pg_catalog.translate(text, './@<&-+', '       ')
        else pg_catalog.regexp_replace(pg_catalog.translate(text, './@<&-+', '       '),
                                       E'([\\u3040-\\u309f\\u3400-\\u9fff\\uf900-\\ufaff])', E' \\1 ', 'g')
    end
$$;

comment on function outbox.words(text) is
'Text as it is to be taken apart into words, with spaces instead of signs. Searches and their indexes use it.';

revoke all on function outbox.words(text) from public;
