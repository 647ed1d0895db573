//! Rows in the order of a field.

use tokio_postgres::types::Type;

use super::NAME;
use super::columns::SearchColumn;
use super::page::{PageQuery, PageRow, to_i64};
use crate::error::Error;
use crate::query::{FieldKind, Place, Value, refused};

/// An order, and the page that is in it.
pub(super) struct FieldOrder<'a> {
    page: &'a PageQuery<'a>,
    column: &'a SearchColumn,
    kind: FieldKind,
    descending: bool,
    /// All that fits is found first, and then sorted.
    sorts_what_was_found: bool,
}

impl<'a> FieldOrder<'a> {
    pub(super) fn new(
        page: &'a PageQuery<'a>,
        field: &str,
        descending: bool,
        sorts_what_was_found: bool,
    ) -> Result<Self, Error> {
        let unknown = || refused(format!("there is no field {field:?} to sort by"));
        let column = page.columns.others.get(field).ok_or_else(unknown)?;
        Ok(Self { page, column, kind: page.fields.get(field)?.kind, descending, sorts_what_was_found })
    }

    /// Its direction, and what is beyond a value.
    const fn direction(&self) -> (&'static str, &'static str) {
        if self.descending { ("desc", "<") } else { ("asc", ">") }
    }

    /// In the order of a field: those with a value, then those without, each found by the index of the field.
    pub(super) async fn rows(&self) -> Result<Vec<PageRow>, Error> {
        let after = match self.page.after.map(|cursor| &cursor.place) {
            Some(Place::Depth) => return self.at_depth().await,
            Some(Place::After { value: None, key }) => Some(key.as_str()),
            Some(Place::After { value: Some(_), .. }) | None => None,
        };
        let mut rows = match after {
            Some(_) => Vec::new(),
            None => self.with_value().await?,
        };
        if rows.len() <= self.page.query.limit {
            rows.extend(self.without_value(after, rows.len()).await?);
        }
        Ok(rows)
    }

    /// After a number of rows, which are all gone through.
    async fn at_depth(&self) -> Result<Vec<PageRow>, Error> {
        let (mut parameters, conditions) = self.page.conditions();
        let offset = parameters.add(to_i64(self.page.after.map_or(0, |cursor| cursor.depth)), Type::INT8);
        let (order, key) = (&self.column.sql, &self.page.columns.key.sql);
        let (direction, _) = self.direction();
        let hits = format!(
            "select p.key as native, {key} as key, {order} as sorted from (\n{}\n) as p where {}\n\
             order by {order} {direction} nulls last, {key} {direction} limit {} offset {offset}",
            self.page.table.sql,
            conditions.join(" and "),
            self.page.limit(0)
        );
        let direction = format!("h.sorted {direction} nulls last, h.key {direction}");
        self.page.documents(&hits, &direction, &parameters, self.kind).await
    }

    async fn with_value(&self) -> Result<Vec<PageRow>, Error> {
        let (mut parameters, mut conditions) = self.page.conditions();
        let (order, key) = (&self.column.sql, &self.page.columns.key.sql);
        let (direction, beyond) = self.direction();
        conditions.push(format!("{} is not null", self.column.sql));
        // Neither is there in an index, and no cursor could be behind one.
        match self.kind {
            FieldKind::Date => conditions.push(format!("isfinite({order})")),
            FieldKind::Double => conditions.push(format!("{order} > '-infinity' and {order} < 'infinity'")),
            FieldKind::Keyword | FieldKind::Integer | FieldKind::Long | FieldKind::Boolean => {}
        }
        if let Some(cursor) = self.page.after
            && let Place::After { value: Some(value), key: last } = &cursor.place
        {
            let last = self.page.key(last, &mut parameters)?;
            conditions.push(if let (Value::Date(_), false) = (value, cursor.by == NAME) {
                // The index knows no more than the millisecond, and has told of the keys in it up to this one.
                let from = parameters.value(value);
                let to = format!("({from} + interval '1 millisecond')");
                let (outside, inside) = if self.descending {
                    (format!("{order} < {from}"), format!("{order} < {to}"))
                } else {
                    (format!("{order} >= {to}"), format!("{order} >= {from}"))
                };
                format!("{inside} and ({outside} or {key} {beyond} {last})")
            } else {
                // A key is its own text, or a UUID.
                let value = match value {
                    Value::Keyword(text) if self.column.is_uuid => self.page.key(text, &mut parameters)?,
                    Value::Keyword(_) | Value::Integer(_) | Value::Double(_) | Value::Date(_) | Value::Boolean(_) => {
                        parameters.value(value)
                    }
                };
                format!("({order}, {key}) {beyond} ({value}, {last})")
            });
        }
        // What stands before an offset is found first.
        let first = if self.sorts_what_was_found { "offset 0" } else { "" };
        let hits = format!(
            "select * from (select p.key as native, {key} as key, {order} as sorted from (\n{}\n) as p\n\
             where {} {first}) as found\norder by sorted {direction}, key {direction} limit {}",
            self.page.table.sql,
            conditions.join(" and "),
            self.page.limit(0)
        );
        self.page.documents(&hits, &format!("h.sorted {direction}, h.key {direction}"), &parameters, self.kind).await
    }

    async fn without_value(&self, after: Option<&str>, have: usize) -> Result<Vec<PageRow>, Error> {
        let (mut parameters, mut conditions) = self.page.conditions();
        conditions.push(format!("{} is null", self.column.sql));
        let key = &self.page.columns.key.sql;
        let (direction, beyond) = self.direction();
        if let Some(after) = after {
            conditions.push(format!("{key} {beyond} {}", self.page.key(after, &mut parameters)?));
        }
        let hits = format!(
            "select p.key as native, {key} as key, {} as sorted from (\n{}\n) as p where {}\n\
             order by {key} {direction} limit {}",
            self.column.sql,
            self.page.table.sql,
            conditions.join(" and "),
            self.page.limit(have)
        );
        self.page.documents(&hits, &format!("h.key {direction}"), &parameters, self.kind).await
    }
}
