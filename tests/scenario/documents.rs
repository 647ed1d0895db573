//! The SQL that the documents show runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::postgres::{fresh_database, fresh_outbox, outbox_at};
use crate::support::servers;

/// What it is about: as little as the statements ask for.
const TABLES: &str = "
create table public.workspaces (id text primary key, name text, status text);
create table public.jobs (id text primary key default gen_random_uuid()::text, workspace_id text, title text, status text, es_synced_at timestamptz);
create table public.comments (id bigint primary key, job_id text);
create table public.readings (id bigint primary key);
create table public.orders (id text primary key, cups int);";

/// The guides are followed step by step, by tests of their own.
fn is_guide(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("from-"))
}

/// Those of SQL, and of a shell that runs psql: whether it is the latter, and the text.
fn blocks(text: &str) -> Vec<(bool, String)> {
    let (mut blocks, mut lines) = (Vec::new(), text.lines());
    while let Some(begin) = lines.by_ref().find(|line| line.starts_with("```")) {
        let block = lines.by_ref().take_while(|line| *line != "```").collect::<Vec<_>>().join("\n");
        let is_psql = begin == "```sh" && block.lines().any(|line| line.starts_with("psql "));
        if is_psql || begin == "```sql" {
            blocks.push((is_psql, block));
        }
    }
    blocks
}

/// Runs a block of psql as the roles that the blocks before it made.
fn psql(block: &str, server: &str) {
    let address = server.split_once("://").unwrap().1.split('/').next().unwrap();
    let (host, port) = address.rsplit_once('@').map_or(address, |(_, host)| host).rsplit_once(':').unwrap();
    let variables = [("PGHOST", host), ("PGPORT", port), ("PGPASSWORD", "…")];
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let ended = Command::new("sh").args(["-ec", block]).current_dir(root).envs(variables).output().unwrap();
    assert!(ended.status.success(), "{block}: {ended:?}");
}

/// The same database, with the password that is shown.
fn as_role(url: &str, role: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let behind = rest.split_once('@').map_or(rest, |(_, behind)| behind);
    format!("{scheme}://{role}:%E2%80%A6@{behind}")
}

#[tokio::test]
async fn every_statement_the_documents_show_is_taken_by_postgresql() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let documents = docs.filter(|path| path.extension().is_some_and(|end| end == "md") && !is_guide(path));
    let mut ran = 0;
    for document in documents.chain([root.join("README.md")]) {
        let blocks = blocks(&fs::read_to_string(&document).unwrap());
        if blocks.is_empty() {
            continue;
        }
        let shows_its_owner = blocks.iter().any(|(is_psql, _)| *is_psql);
        let (client, url) = if shows_its_owner { fresh_database().await } else { fresh_outbox().await };
        client.batch_execute(TABLES).await.unwrap();
        // Roles and databases are the cluster's, which other tests use, too.
        let prefix = servers::unique("docs").replace('-', "_");
        let (_, database) = url.rsplit_once('/').unwrap();
        client.batch_execute(&format!("create role \"{prefix}_app\"")).await.unwrap();
        for (is_psql, block) in blocks {
            let own = block
                .replace("sync_", &format!("{prefix}_"))
                .replace("'app'", &format!("'{prefix}_app'"))
                .replace("writer=app", &format!("writer={prefix}_app"))
                .replace("-d app", &format!("-d {database}"))
                .replace("on database app", &format!("on database \"{database}\""));
            if is_psql {
                outbox_at(&as_role(&url, &format!("{prefix}_owner"))).await;
                psql(&own, &url);
            } else {
                let done = client.batch_execute(&own).await;
                done.unwrap_or_else(|error| panic!("{}: {:?}\n{own}", document.display(), error.as_db_error()));
            }
            ran += 1;
        }
        if shows_its_owner {
            let reads = "select has_column_privilege($1, 'outbox.events', 'payload', 'select')";
            for (role, is_granted) in [("relay", true), ("indexer", false), ("search", false)] {
                let reads = client.query_one(reads, &[&format!("{prefix}_{role}")]).await.unwrap().get::<_, bool>(0);
                assert_eq!(reads, is_granted, "whether {role} reads what events hold");
            }
        }
        let owned = format!(
            "do $$ declare r text; begin
                 for r in select rolname from pg_roles where rolname like '{prefix}%' loop
                     execute format('drop owned by %I cascade; drop role %I', r, r);
                 end loop;
             end $$"
        );
        client.batch_execute(&owned).await.unwrap();
    }
    assert!(ran >= 8, "only {ran} blocks were found");
}
