//! The key-values of a record that have a value.

use log::{Record, kv};

/// Calls `take` with each of them. One that is `None` does not apply to this line.
pub(super) fn visit(
    record: &Record<'_>,
    take: impl FnMut(&str, &kv::Value<'_>) -> Result<(), kv::Error>,
) -> Result<(), kv::Error> {
    record.key_values().visit(&mut Present(take))
}

struct Present<F>(F);

impl<'kvs, F: FnMut(&str, &kv::Value<'_>) -> Result<(), kv::Error>> kv::VisitSource<'kvs> for Present<F> {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let mut is_null = IsNull(false);
        value.visit(&mut is_null)?;
        if is_null.0 { Ok(()) } else { (self.0)(key.as_str(), &value) }
    }
}

struct IsNull(bool);

impl<'v> kv::VisitValue<'v> for IsNull {
    fn visit_any(&mut self, _: kv::Value<'_>) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.0 = true;
        Ok(())
    }
}
