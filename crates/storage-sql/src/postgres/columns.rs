//! PostgreSQL's rows as [`Columns`], and fixed bytes as parameters.

use bytes::BytesMut;
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked},
};

use crate::columns::Columns;

fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<Option<T>, String> {
    row.try_get(column).map_err(|error| error.to_string())
}

impl Columns for Row {
    fn int_or(&self, column: usize) -> Result<Option<i64>, String> {
        // Counts and CASEs are not always as wide as columns are.
        match self.columns().get(column).map(|column| column.type_()) {
            Some(&Type::INT4) => Ok(get::<i32>(self, column)?.map(i64::from)),
            _ => get(self, column),
        }
    }

    fn text_or(&self, column: usize) -> Result<Option<&str>, String> {
        get(self, column)
    }

    fn bytes_or(&self, column: usize) -> Result<Option<&[u8]>, String> {
        get(self, column)
    }
}

/// An id or a digest, as a parameter or an element of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Fixed<const N: usize>(pub(crate) [u8; N]);

/// The 16 bytes of an id.
pub(crate) type Id = Fixed<16>;

/// The bounds, both in, of what a batch names. History is partitioned by range of id, and a statement that reads it for a
/// batch says so, one row of the batch after the other (`LATERAL`, and `OFFSET 0`, or the span is walked for each of
/// them): else the plan is made for every partition there is (7.7 ms instead of 1 with 14 of them, for a claim).
pub(crate) fn span<'i>(ids: impl IntoIterator<Item = &'i Id>) -> [Id; 2] {
    let fold = |[least, most]: [Id; 2], id: &Id| [least.min(*id), most.max(*id)];
    ids.into_iter().fold([Fixed([0xff; 16]), Fixed([0; 16])], fold)
}

/// The same of whatever was derived from ids within: an event, its deliveries and a start have their milliseconds.
pub(crate) fn span_of_moments([least, most]: [Id; 2]) -> [Id; 2] {
    let rest = (1_u128 << 80) - 1;
    let number = |id: Id| u128::from_be_bytes(id.0);
    [Fixed((number(least) & !rest).to_be_bytes()), Fixed((number(most) | rest).to_be_bytes())]
}

impl<const N: usize> ToSql for Fixed<N> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    accepts!(BYTEA);
    to_sql_checked!();
}

/// That a row `q` of a queue is one of a batch, said so that it is reached by its key. Statistics that were taken while the
/// queue was next to empty make the planner walk the whole of it instead, however much has been deleted there that an open
/// transaction keeps from being cleared away (2 ms a batch after ten minutes, seen, and growing).
macro_rules! sought {
    ($ids:literal) => {
        concat!("q.id = ANY (", $ids, "::bytea[])")
    };
}
pub(crate) use sought;

/// Rows of a batch that are joined with what was sought so at most: each is compared with all others (84 ms for 500, 1.4 for
/// so many).
pub(crate) const JOINED: usize = 64;
