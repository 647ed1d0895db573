// Events from JDBC, in the transaction that writes the row: all it takes is SQL.
//
// `JDBC_DATABASE_URL='jdbc:postgresql://…' java -cp postgresql.jar Emit.java`; a new database, after `sync-runner migrate`.

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.ArrayList;

public class Emit {
    // In an application, a migration.
    static final String BOOKS = """
        create table books (isbn text primary key, title text not null);
        select outbox.watch('books', 'books');""";

    static final String EVENTS = """
        select concat_ws(' ', topic, action, key, payload, headers), version from outbox.events order by id""";

    public static void main(String[] arguments) throws SQLException {
        try (var connection = DriverManager.getConnection(System.getenv("JDBC_DATABASE_URL"));
                var statement = connection.createStatement()) {
            statement.execute(BOOKS);

            // Commit: both the row and the events.
            connection.setAutoCommit(false);
            var version = addBook(connection, "1", "Dune");
            connection.commit();

            // Roll back: neither.
            addBook(connection, "2", "Emma");
            connection.rollback();

            var titles = new ArrayList<String>();
            var books = statement.executeQuery("select title from books");
            while (books.next()) titles.add(books.getString(1));
            System.out.println("books: " + String.join(", ", titles));

            var written = 0L;
            var events = statement.executeQuery(EVENTS);
            while (events.next()) {
                System.out.println("event: " + events.getString(1));
                written = events.getLong(2);
            }
            System.out.println("emit returned the version of its event: " + (version == written));
        }
    }

    // The row, of which the watched table tells by itself, and an event of the application's own.
    static long addBook(Connection connection, String isbn, String title) throws SQLException {
        try (var insert = connection.prepareStatement("insert into books values (?, ?)")) {
            insert.setString(1, isbn);
            insert.setString(2, title);
            insert.executeUpdate();
        }
        // Where a library has made the JSON, as text: `?::jsonb`.
        var emit = """
            select outbox.emit('book-news', ?, 'INDEX',
                               jsonb_build_object('title', ?::text), jsonb_build_object('type', 'BookAdded'))""";
        try (var statement = connection.prepareStatement(emit)) {
            statement.setString(1, isbn);
            statement.setString(2, title);
            var emitted = statement.executeQuery();
            emitted.next();
            return emitted.getLong(1);
        }
    }
}
