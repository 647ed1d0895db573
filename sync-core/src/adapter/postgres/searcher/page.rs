//! One search on one server: a page of the rows that fit, with their documents.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::NAME;
use super::columns::SearchColumns;
use super::order::FieldOrder;
use super::rows::SearchedRows;
use super::statement::{Parameters, is_uuid, matching, tsquery_of};
use crate::adapter::postgres::connect::{Failure, Timed};
use crate::error::{Error, ErrorKind};
use crate::port::{Found, Hit};
use crate::query::{Cursor, FieldKind, Fields, Order, Place, Query, Value, refused};
use crate::version::Version;

/// Rows that are ranked, at most: their words are taken apart for it.
const RANKED: u64 = 200;

/// One query, asked on one connection.
#[derive(Clone, Copy)]
pub(super) struct PageQuery<'a> {
    pub(super) client: &'a Timed,
    pub(super) table: &'a SearchedRows,
    pub(super) columns: &'a SearchColumns,
    pub(super) fields: &'a Fields,
    pub(super) query: &'a Query,
    /// Where to go on.
    pub(super) after: Option<&'a Cursor>,
}

/// A row of a page.
pub(super) struct PageRow {
    hit: Hit,
    place: Option<Value>,
}

impl PageQuery<'_> {
    pub(super) async fn run(&self) -> Result<Found, Error> {
        let (total, facets) = self.count().await?;
        let asked = self.query.order_in(self.fields);
        let can_rank = total.value <= RANKED;
        let order = match self.after {
            Some(cursor) if cursor.order != Order::Relevance || can_rank => cursor.order.clone(),
            _ if asked == Order::Relevance && !can_rank => self.fields.order().clone(),
            _ => asked,
        };
        // What was ranked cannot be gone on with in another order: it begins anew.
        let after = self.after.filter(|cursor| cursor.order == order);
        let page = Self { after, ..*self };
        // To look for words in the order of another index takes long where few have them. The planner cannot know how few.
        let sorts_what_was_found = total.is_exact && !self.query.text.is_empty();
        let mut rows = match &order {
            Order::Relevance => page.ranked().await?,
            Order::By { field, descending } => {
                FieldOrder::new(&page, field, *descending, sorts_what_was_found)?.rows().await?
            }
        };
        let limit = self.query.limit;
        let is_last = rows.len() <= limit;
        rows.truncate(limit);
        let depth = after.map_or(0, |cursor| cursor.depth).saturating_add(rows.len());
        let next = rows.last().filter(|_| !is_last).map(|last| Cursor {
            by: NAME.to_owned(),
            order,
            depth,
            place: Place::After { value: last.place.clone(), key: last.hit.key.clone() },
        });
        Ok(Found { hits: rows.into_iter().map(|row| row.hit).collect(), total, facets, next })
    }

    /// The best first, of so few that all of them can be ranked.
    async fn ranked(&self) -> Result<Vec<PageRow>, Error> {
        let (mut parameters, conditions) = self.conditions();
        let conditions = conditions.join(" and ");
        let wanted = tsquery_of(self.query, &self.table.regconfig, &mut parameters);
        let words = self.columns.tsvector.as_deref().unwrap_or("''::tsvector");
        let weights = parameters.add(self.columns.weights.to_vec(), Type::FLOAT4_ARRAY);
        let (key, most) = (&self.columns.key.sql, parameters.add(to_i64(RANKED), Type::INT8));
        let mut behind = String::new();
        if let Some(Place::After { value: Some(value), key }) = self.after.map(|cursor| &cursor.place) {
            let (rank, key) = (parameters.value(value), self.key(key, &mut parameters)?);
            behind = format!("where sorted < {rank} or (sorted = {rank} and key > {key})");
        }
        let hits = format!(
            "select * from (select p.key as native, {key} as key, ts_rank({weights}, {words}, {wanted})::float8 as sorted\n\
             from (\n{}\n) as p where {conditions} limit {most}) as ranked {behind}\n\
             order by sorted desc, key limit {}",
            self.table.sql,
            self.limit(0)
        );
        self.documents(&hits, "h.sorted desc, h.key", &parameters, FieldKind::Double).await
    }

    /// The documents of what was found. Made of its rows only: to make those of all that fit would take long.
    pub(super) async fn documents(
        &self,
        hits: &str,
        order: &str,
        parameters: &Parameters,
        kind: FieldKind,
    ) -> Result<Vec<PageRow>, Error> {
        let is_date = kind == FieldKind::Date;
        let micros = if is_date { ", (extract(epoch from h.sorted) * 1000000)::int8" } else { "" };
        let sql = format!(
            "with h as materialized (\n{hits})\n\
             select h.key::text, coalesce(v.version, 0), (select coalesce(max(epoch), 0) from outbox.history),\n\
             d.document::text, h.sorted{micros}\n\
             from h join (\n{}\n) as d on d.key = h.native\n\
             left join outbox.versions v on v.topic = {} and v.key = h.native::text\norder by {order}",
            self.table.sql, self.table.quoted_topic,
        );
        let rows = self.ask(&sql, parameters).await?;
        rows.iter().map(|row| self.found(row, kind)).collect()
    }

    fn found(&self, row: &Row, kind: FieldKind) -> Result<PageRow, Error> {
        let version = Version::new(self.read(row, 2)?, self.read(row, 1)?)?;
        let hit = Hit { key: self.read(row, 0)?, version, document: self.read(row, 3)? };
        let place = match kind {
            FieldKind::Keyword if *row.columns()[4].type_() == Type::UUID => Some(Value::Keyword(hit.key.clone())),
            FieldKind::Keyword => self.read::<Option<String>>(row, 4)?.map(Value::Keyword),
            FieldKind::Integer | FieldKind::Long => self.integer(row)?.map(Value::Integer),
            FieldKind::Double => self.read::<Option<f64>>(row, 4)?.map(Value::Double),
            FieldKind::Date => self.read::<Option<i64>>(row, 5)?.map(Value::Date),
            FieldKind::Boolean => self.read::<Option<bool>>(row, 4)?.map(Value::Boolean),
        };
        Ok(PageRow { hit, place })
    }

    /// Of any width: a cast would keep its index from being used.
    fn integer(&self, row: &Row) -> Result<Option<i64>, Error> {
        Ok(match *row.columns()[4].type_() {
            Type::INT2 => self.read::<Option<i16>>(row, 4)?.map(i64::from),
            Type::INT4 => self.read::<Option<i32>>(row, 4)?.map(i64::from),
            _ => self.read(row, 4)?,
        })
    }

    /// A key to go on behind.
    pub(super) fn key(&self, key: &str, parameters: &mut Parameters) -> Result<String, Error> {
        if !self.columns.key.is_uuid {
            return Ok(parameters.add(key.to_owned(), Type::TEXT));
        }
        if is_uuid(key) {
            return Ok(format!("{}::text::uuid", parameters.add(key.to_owned(), Type::TEXT)));
        }
        Err(refused(format!("cursor: {key:?} is no key of these documents")))
    }

    /// What fits, as the parts of a `where`.
    pub(super) fn conditions(&self) -> (Parameters, Vec<String>) {
        let mut parameters = Parameters::default();
        let conditions = matching(self.query, self.columns, &self.table.regconfig, &mut parameters);
        (parameters, conditions)
    }

    /// Rows to ask for: one more than wanted tells whether there is another page.
    pub(super) fn limit(&self, have: usize) -> usize {
        self.query.limit + 1 - have
    }

    pub(super) async fn ask(&self, sql: &str, parameters: &Parameters) -> Result<Vec<Row>, Error> {
        let asked = self.client.query_typed(sql, &parameters.as_typed()).await;
        asked.map_err(|failure: Failure| self.table.failed(failure))
    }

    pub(super) fn read<'a, T: tokio_postgres::types::FromSql<'a>>(
        &self,
        row: &'a Row,
        column: usize,
    ) -> Result<T, Error> {
        row.try_get(column).map_err(|error| {
            let what = format!("indexes.{}.search: cannot read what PostgreSQL found", self.table.index);
            Error::new(ErrorKind::Contract, what).with_source(error)
        })
    }
}

pub(super) fn to_i64(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
