"""Events from psycopg, in the transaction that writes the row: all it takes is SQL.

`DATABASE_URL=postgres://… python emit.py`; a new database, after `sync-runner migrate`.
"""

import os

import psycopg
from psycopg.types.json import Jsonb

# In an application, a migration.
BOOKS = """
create table books (isbn text primary key, title text not null);
select outbox.watch('books', 'books');
"""

EVENTS = """
select concat_ws(' ', topic, action, key, payload, headers), version from outbox.events order by id
"""


# From Django, the same statement: `connection.cursor().execute(…)` inside `transaction.atomic()`.
# From SQLAlchemy: `session.scalar(text("select outbox.emit(…, :key, …)"), {"key": …})` before `session.commit()`.
def add_book(connection: psycopg.Connection, isbn: str, title: str) -> int:
    """The row, of which the watched table tells by itself, and an event of the application's own."""
    connection.execute("insert into books values (%s, %s)", [isbn, title])
    emitted = connection.execute(
        "select outbox.emit('book-news', %s, 'INDEX', %s, %s)",
        [isbn, Jsonb({"title": title}), Jsonb({"type": "BookAdded"})],
    )
    return emitted.fetchone()[0]


with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    connection.execute(BOOKS)

    # Commit: both the row and the events.
    with connection.transaction():
        version = add_book(connection, "1", "Dune")

    # Any exception rolls back, and this one is heard of no further: neither.
    with connection.transaction():
        add_book(connection, "2", "Emma")
        raise psycopg.Rollback

    titles = [title for (title,) in connection.execute("select title from books")]
    print("books:", ", ".join(titles))
    events = connection.execute(EVENTS).fetchall()
    for line, _ in events:
        print("event:", line)
    print("emit returned the version of its event:", str(version == events[-1][1]).lower())
