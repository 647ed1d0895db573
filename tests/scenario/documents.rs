//! The SQL that the documents show runs.

use std::fs;
use std::path::Path;

use crate::support::postgres::fresh_outbox;
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

fn blocks(text: &str) -> Vec<String> {
    let (mut blocks, mut lines) = (Vec::new(), text.lines());
    while lines.by_ref().any(|line| line == "```sql") {
        blocks.push(lines.by_ref().take_while(|line| *line != "```").collect::<Vec<_>>().join("\n"));
    }
    blocks
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
        let (client, url) = fresh_outbox().await;
        client.batch_execute(TABLES).await.unwrap();
        // Roles and databases are the cluster's, which other tests use, too.
        let prefix = servers::unique("docs").replace('-', "_");
        let (_, database) = url.rsplit_once('/').unwrap();
        client.batch_execute(&format!("create role \"{prefix}_app\"")).await.unwrap();
        for block in blocks {
            let own = block
                .replace("sync_", &format!("{prefix}_"))
                .replace("'app'", &format!("'{prefix}_app'"))
                .replace("on database app", &format!("on database \"{database}\""));
            let done = client.batch_execute(&own).await;
            done.unwrap_or_else(|error| panic!("{}: {:?}\n{own}", document.display(), error.as_db_error()));
            ran += 1;
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
