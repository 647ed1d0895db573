//! What the user of a connection may not do of what its roles need in the schema `outbox`.

mod needs;
#[cfg(test)]
mod tests;

use sync_core::Error;
use sync_core::adapter::postgres::Postgres;

use self::needs::{ADMIN, ALERTS, EVERYBODY, INDEXER, Need, RECONCILER, RELAY, SEARCH, WATCH, WORKSPACES};
use super::failed;
use crate::cli::RoleName;
use crate::config::Config;

/// Who needs something: a section of `deploy/postgres/roles.sql`, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The role relay, and `replay`.
    Relay,
    /// The role indexer.
    Indexer,
    /// The role reconciler, and the commands that repair.
    Reconciler,
    /// The role search.
    Search,
    /// The roles workspaces and cleanup, and the commands of `workspace`.
    Workspaces,
    /// What the role admin reads: without it there is neither a status page nor a metric.
    Watch,
    /// The role admin where it decides about dead letters, too.
    Admin,
    /// Telling people of dead letters, which every process does unless nobody is to be told. A part of `Watch`.
    Alerts,
}

impl Part {
    /// Who needs something in a process of these roles. What is not configured needs nothing.
    pub(crate) fn of(config: &Config, roles: &[RoleName]) -> Vec<Self> {
        let searches = config.indexes.values().any(|index| index.search.is_some());
        let mut parts: Vec<_> = roles
            .iter()
            .filter_map(|role| match role {
                RoleName::Relay => Some(Self::Relay),
                RoleName::Indexer => Some(Self::Indexer),
                RoleName::Reconciler => (!config.indexes.is_empty()).then_some(Self::Reconciler),
                RoleName::Search => searches.then_some(Self::Search),
                RoleName::Workspaces | RoleName::Cleanup => {
                    (!config.workspaces.hosts.is_empty()).then_some(Self::Workspaces)
                }
                RoleName::Admin => Some(Self::Watch),
            })
            .collect();
        if config.alerts.log || config.alerts.webhook.is_some() {
            parts.push(Self::Alerts);
        }
        parts
    }

    /// The word for it.
    const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Indexer => "indexer",
            Self::Reconciler => "reconciler",
            Self::Search => "search",
            Self::Workspaces => "workspaces",
            Self::Watch => "watch",
            Self::Admin => "admin",
            Self::Alerts => "alerts",
        }
    }

    const fn needs(self) -> &'static [Need] {
        match self {
            Self::Relay => RELAY,
            Self::Indexer => INDEXER,
            Self::Reconciler => RECONCILER,
            Self::Search => SEARCH,
            Self::Workspaces => WORKSPACES,
            Self::Watch => WATCH,
            Self::Admin => ADMIN,
            Self::Alerts => ALERTS,
        }
    }
}

/// One privilege, and who needs it.
#[derive(Debug)]
struct Wanted {
    need: &'static Need,
    privilege: &'static str,
    by: Vec<Part>,
}

impl Wanted {
    fn told(&self) -> String {
        let by: Vec<_> = self.by.iter().map(|part| part.name()).collect();
        format!("{} ({})", self.need.told(self.privilege), by.join(", "))
    }
}

/// What these need, each privilege once, in the order in which it is granted.
fn wanted(parts: &[Part]) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for part in parts {
        // Nobody only tells: what everybody needs is asked for with the roles of the process.
        let common: &[Need] = if *part == Part::Alerts { &[] } else { EVERYBODY };
        for need in common.iter().chain(part.needs()) {
            for &privilege in need.privileges {
                let known = all.iter_mut().find(|known| known.need.is_of(need) && known.privilege == privilege);
                match known {
                    Some(known) if known.by.contains(part) => {}
                    Some(known) => known.by.push(*part),
                    None => all.push(Wanted { need, privilege, by: vec![*part] }),
                }
            }
        }
    }
    all
}

/// What these need and this user may not, each with its object and who needs it, as in `USAGE on sequence
/// outbox.window_seq (relay)`. What may be done to every column may be done to the table.
///
/// # Errors
/// `Unavailable`.
pub(crate) async fn missing(database: &Postgres, parts: &[Part]) -> Result<Vec<String>, Error> {
    let wanted = wanted(parts);
    let kinds: Vec<_> = wanted.iter().map(|wanted| wanted.need.kind.name()).collect();
    let names: Vec<_> = wanted.iter().map(|wanted| wanted.need.name).collect();
    let privileges: Vec<_> = wanted.iter().map(|wanted| wanted.privilege).collect();
    let columns: Vec<_> = wanted.iter().map(|wanted| wanted.need.columns.join(",")).collect();
    let client = database.client().await?;
    let rows = client.query(MISSING, &[&kinds, &names, &privileges, &columns]).await;
    let rows = rows.map_err(|error| failed("asking for privileges", error))?;
    let lacking: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    Ok((0_i64..).zip(&wanted).filter(|(place, _)| lacking.contains(place)).map(|(_, wanted)| wanted.told()).collect())
}

/// By the catalogue, because a name of a schema that may not be used cannot be looked up.
const MISSING: &str = "
select w.place - 1
  from unnest($1::text[], $2::text[], $3::text[], $4::text[]) with ordinality as w (kind, name, privilege, columns, place)
 where not coalesce(case w.kind
       when 'schema' then
           (select has_schema_privilege(n.oid, w.privilege) from pg_namespace n where n.nspname = w.name)
       when 'function' then
           (select bool_and(has_function_privilege(p.oid, w.privilege)) from pg_proc p
             where p.pronamespace = to_regnamespace('outbox') and p.proname = w.name)
       when 'sequence' then
           (select has_sequence_privilege(c.oid, w.privilege) from pg_class c
             where c.relnamespace = to_regnamespace('outbox') and c.relname = w.name)
       else
           (select case when w.privilege = 'DELETE' then has_table_privilege(c.oid, w.privilege)
                        else not exists (
                            select from pg_attribute a
                             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                               and (w.columns = '' or a.attname = any (string_to_array(w.columns, ',')))
                               and not has_column_privilege(c.oid, a.attnum, w.privilege)) end
              from pg_class c where c.relnamespace = to_regnamespace('outbox') and c.relname = w.name)
       end, false)
 order by w.place";
