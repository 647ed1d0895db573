//! One search on one server: how many rows fit, and a page of them.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::NAME;
use super::columns::{SearchColumn, SearchColumns};
use super::rows::SearchedRows;
use super::statement::{Parameters, is_uuid, matching, tsquery_of};
use crate::adapter::postgres::connect::{Failure, Timed};
use crate::error::{Error, ErrorKind};
use crate::port::{Counted, Facet, Found, Hit, Total};
use crate::query::{Cursor, FieldKind, Fields, MAX_FACET_VALUES, Order, Place, Query, Value, refused};
use crate::version::Version;

/// Rows that are ranked, at most: their words are taken apart for it.
const RANKED: u64 = 200;

/// Rows that are counted, at most, where only columns are compared.
const COUNTED: i64 = 1_000;

/// The same where words are looked for, or values are counted. So many are sorted rather than met in their order.
const COUNTED_FAR: i64 = 10_000;

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
struct PageRow {
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
            Order::By { field, descending } => page.ordered(field, *descending, sorts_what_was_found).await?,
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

    /// How many rows fit, and the values of facets among them.
    async fn count(&self) -> Result<(Total, Vec<Facet>), Error> {
        let (query, mut parameters) = (self.query, Parameters::default());
        let conditions = matching(query, self.columns, &self.table.regconfig, &mut parameters).join(" and ");
        let facets: Vec<(&String, &SearchColumn)> =
            query.facets.iter().filter_map(|field| Some((field, self.columns.others.get(field)?))).collect();
        let most = if facets.is_empty() && query.text.is_empty() { COUNTED } else { COUNTED_FAR };
        let values = facets.iter().enumerate().map(|(place, (_, column))| format!(", {} as f{place}", column.sql));
        let limit = parameters.add(most + 1, Type::INT8);
        let mut sql = format!(
            "with found as materialized (select 1 as one{} from (\n{}\n) as p where {conditions} limit {limit})\n\
             select -1 as facet, null::text as value, count(*) from found",
            values.collect::<String>(),
            self.table.sql,
        );
        for (place, (_, column)) in facets.iter().enumerate() {
            let value = if column.is_many {
                format!("from found, lateral (select distinct unnest(f{place}) as value) as v")
            } else {
                format!("from (select f{place} as value from found) as v")
            };
            sql += &format!(
                "\nunion all (select {place}, value::text, count(*) {value} where value is not null\n\
                 group by value order by count(*) desc, value::text collate \"C\" limit {MAX_FACET_VALUES})"
            );
        }
        let rows = self.ask(&sql, &parameters).await?;
        let mut counted = 0;
        let mut found: Vec<_> = facets
            .iter()
            .map(|(field, _)| Facet { field: (*field).clone(), values: Vec::new(), is_exact: true })
            .collect();
        for row in &rows {
            let (place, count): (i32, i64) = (self.read(row, 0)?, self.read(row, 2)?);
            match usize::try_from(place).ok().and_then(|place| found.get_mut(place)) {
                Some(facet) => {
                    facet.values.push(Counted { value: self.read(row, 1)?, count: count.unsigned_abs() });
                }
                None => counted = count,
            }
        }
        for facet in &mut found {
            facet.is_exact = counted <= most;
            facet.values.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
        }
        Ok((Total { value: counted.min(most).unsigned_abs(), is_exact: counted <= most }, found))
    }

    /// The best first, of so few that all of them can be ranked.
    async fn ranked(&self) -> Result<Vec<PageRow>, Error> {
        let mut parameters = Parameters::default();
        let conditions = matching(self.query, self.columns, &self.table.regconfig, &mut parameters).join(" and ");
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
        self.page(&hits, "h.sorted desc, h.key", &parameters, FieldKind::Double).await
    }

    /// In the order of a field: those with a value, then those without, each found by the index of the field.
    async fn ordered(&self, field: &str, descending: bool, sorts_what_was_found: bool) -> Result<Vec<PageRow>, Error> {
        let unknown = || refused(format!("there is no field {field:?} to sort by"));
        let column = self.columns.others.get(field).ok_or_else(unknown)?;
        let kind = self.fields.get(field)?.kind;
        let after = match self.after.map(|cursor| &cursor.place) {
            Some(Place::Depth) => return self.at_depth(column, kind, descending).await,
            Some(Place::After { value: None, key }) => Some(key.as_str()),
            Some(Place::After { value: Some(_), .. }) | None => None,
        };
        let mut rows = match after {
            Some(_) => Vec::new(),
            None => self.with_value(column, kind, descending, sorts_what_was_found).await?,
        };
        if rows.len() <= self.query.limit {
            rows.extend(self.without_value(column, kind, descending, after, rows.len()).await?);
        }
        Ok(rows)
    }

    /// After a number of rows, which are all gone through.
    async fn at_depth(&self, column: &SearchColumn, kind: FieldKind, descending: bool) -> Result<Vec<PageRow>, Error> {
        let mut parameters = Parameters::default();
        let conditions = matching(self.query, self.columns, &self.table.regconfig, &mut parameters).join(" and ");
        let offset = parameters.add(to_i64(self.after.map_or(0, |cursor| cursor.depth)), Type::INT8);
        let (order, key) = (&column.sql, &self.columns.key.sql);
        let direction = if descending { "desc" } else { "asc" };
        let hits = format!(
            "select p.key as native, {key} as key, {order} as sorted from (\n{}\n) as p where {conditions}\n\
             order by {order} {direction} nulls last, {key} {direction} limit {} offset {offset}",
            self.table.sql,
            self.limit(0)
        );
        let direction = format!("h.sorted {direction} nulls last, h.key {direction}");
        self.page(&hits, &direction, &parameters, kind).await
    }

    async fn with_value(
        &self,
        column: &SearchColumn,
        kind: FieldKind,
        descending: bool,
        sorts_what_was_found: bool,
    ) -> Result<Vec<PageRow>, Error> {
        let mut parameters = Parameters::default();
        let mut conditions = matching(self.query, self.columns, &self.table.regconfig, &mut parameters);
        let (order, key) = (&column.sql, &self.columns.key.sql);
        conditions.push(format!("{} is not null", column.sql));
        // Neither is there in an index, and no cursor could be behind one.
        match kind {
            FieldKind::Date => conditions.push(format!("isfinite({order})")),
            FieldKind::Double => conditions.push(format!("{order} > '-infinity' and {order} < 'infinity'")),
            FieldKind::Keyword | FieldKind::Integer | FieldKind::Long | FieldKind::Boolean => {}
        }
        let (direction, beyond) = if descending { ("desc", "<") } else { ("asc", ">") };
        if let Some(cursor) = self.after
            && let Place::After { value: Some(value), key: last } = &cursor.place
        {
            let last = self.key(last, &mut parameters)?;
            conditions.push(if let (Value::Date(_), false) = (value, cursor.by == NAME) {
                // The index knows no more than the millisecond, and has told of the keys in it up to this one.
                let from = parameters.value(value);
                let to = format!("({from} + interval '1 millisecond')");
                let (outside, inside) = if descending {
                    (format!("{order} < {from}"), format!("{order} < {to}"))
                } else {
                    (format!("{order} >= {to}"), format!("{order} >= {from}"))
                };
                format!("{inside} and ({outside} or {key} {beyond} {last})")
            } else {
                // A key is its own text, or a UUID.
                let value = match value {
                    Value::Keyword(text) if column.is_uuid => self.key(text, &mut parameters)?,
                    Value::Keyword(_) | Value::Integer(_) | Value::Double(_) | Value::Date(_) | Value::Boolean(_) => {
                        parameters.value(value)
                    }
                };
                format!("({order}, {key}) {beyond} ({value}, {last})")
            });
        }
        // What stands before an offset is found first.
        let first = if sorts_what_was_found { "offset 0" } else { "" };
        let hits = format!(
            "select * from (select p.key as native, {key} as key, {order} as sorted from (\n{}\n) as p\n\
             where {} {first}) as found\norder by sorted {direction}, key {direction} limit {}",
            self.table.sql,
            conditions.join(" and "),
            self.limit(0)
        );
        self.page(&hits, &format!("h.sorted {direction}, h.key {direction}"), &parameters, kind).await
    }

    async fn without_value(
        &self,
        column: &SearchColumn,
        kind: FieldKind,
        descending: bool,
        after: Option<&str>,
        have: usize,
    ) -> Result<Vec<PageRow>, Error> {
        let mut parameters = Parameters::default();
        let mut conditions = matching(self.query, self.columns, &self.table.regconfig, &mut parameters);
        conditions.push(format!("{} is null", column.sql));
        let key = &self.columns.key.sql;
        let (direction, beyond) = if descending { ("desc", "<") } else { ("asc", ">") };
        if let Some(after) = after {
            conditions.push(format!("{key} {beyond} {}", self.key(after, &mut parameters)?));
        }
        let hits = format!(
            "select p.key as native, {key} as key, {} as sorted from (\n{}\n) as p where {}\n\
             order by {key} {direction} limit {}",
            column.sql,
            self.table.sql,
            conditions.join(" and "),
            self.limit(have)
        );
        self.page(&hits, &format!("h.key {direction}"), &parameters, kind).await
    }

    /// The documents of what was found. Made of its rows only: to make those of all that fit would take long.
    async fn page(
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
    fn key(&self, key: &str, parameters: &mut Parameters) -> Result<String, Error> {
        if !self.columns.key.is_uuid {
            return Ok(parameters.add(key.to_owned(), Type::TEXT));
        }
        if is_uuid(key) {
            return Ok(format!("{}::text::uuid", parameters.add(key.to_owned(), Type::TEXT)));
        }
        Err(refused(format!("cursor: {key:?} is no key of these documents")))
    }

    fn limit(&self, have: usize) -> usize {
        self.query.limit + 1 - have
    }

    async fn ask(&self, sql: &str, parameters: &Parameters) -> Result<Vec<Row>, Error> {
        let asked = self.client.query_typed(sql, &parameters.as_typed()).await;
        asked.map_err(|failure: Failure| self.table.failed(failure))
    }

    fn read<'a, T: tokio_postgres::types::FromSql<'a>>(&self, row: &'a Row, column: usize) -> Result<T, Error> {
        row.try_get(column).map_err(|error| {
            let what = format!("indexes.{}.search: cannot read what PostgreSQL found", self.table.index);
            Error::new(ErrorKind::Contract, what).with_source(error)
        })
    }
}

fn to_i64(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
