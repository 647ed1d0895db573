//! How many rows fit, and which values they have.

use tokio_postgres::types::Type;

use super::columns::SearchColumn;
use super::page::PageQuery;
use crate::error::Error;
use crate::port::{Counted, Facet, Total};
use crate::query::{MAX_DEPTH, MAX_FACET_VALUES};

/// Rows that are counted, at most, where only columns are compared.
const COUNTED: i64 = 1_000;

/// The same where words are looked for, or values are counted. So many are sorted rather than met in their order.
const COUNTED_FAR: i64 = MAX_DEPTH as i64;

impl PageQuery<'_> {
    /// How many rows fit, and the values of facets among them.
    pub(super) async fn count(&self) -> Result<(Total, Vec<Facet>), Error> {
        let query = self.query;
        let (mut parameters, conditions) = self.conditions();
        let conditions = conditions.join(" and ");
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
}
