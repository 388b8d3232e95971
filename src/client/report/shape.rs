//! A table of fields, from which an object of the report is written, and its schema and its page in the reference as well: none
//! of them can say something else than the others.

use serde_json::{Map, Value, json};

use super::json::Json;

/// An object of the report that says something about a `T`.
pub struct Object<T> {
    name: &'static str,
    about: &'static str,
    fields: Vec<Field<T>>,
}

/// A field of such an object.
pub struct Field<T> {
    shape: FieldShape,
    value: fn(&T) -> Option<Json>,
}

/// An object, whatever it says something about.
pub struct Shape {
    /// Its name in the schema.
    pub name: &'static str,
    /// What it says.
    pub about: &'static str,
    /// Its fields, in order.
    pub fields: Vec<FieldShape>,
}

/// What is known of a field without a value.
pub struct FieldShape {
    /// Its name; with the unit at its end.
    pub name: &'static str,
    /// What it says.
    pub about: &'static str,
    /// What values it has.
    pub form: Form,
    /// Whether it is there in each report.
    pub is_required: bool,
}

/// What values a field has.
pub enum Form {
    /// A whole number that is not negative.
    Whole,
    /// A number between 0 and 1.
    Share,
    /// A number that is not negative.
    Real,
    /// true or false.
    Flag,
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// This number and no other.
    Only(u64),
    /// A moment (RFC 3339).
    Moment,
    /// Values of these forms, in this order.
    Tuple(Vec<Form>),
    /// Any number of values of this form.
    List(Box<Form>),
    /// Another object.
    Object(fn() -> Shape),
}

/// A field that is always there.
pub fn always<T>(
    name: &'static str,
    form: Form,
    about: &'static str,
    value: fn(&T) -> Option<Json>,
) -> Field<T> {
    Field { shape: FieldShape { name, about, form, is_required: true }, value }
}

/// A field that is left out where there is nothing to tell.
pub fn maybe<T>(
    name: &'static str,
    form: Form,
    about: &'static str,
    value: fn(&T) -> Option<Json>,
) -> Field<T> {
    Field { shape: FieldShape { name, about, form, is_required: false }, value }
}

/// A list of objects.
pub fn list(shape: fn() -> Shape) -> Form {
    Form::List(Box::new(Form::Object(shape)))
}

impl<T> Object<T> {
    /// An object with these fields.
    pub fn new(name: &'static str, about: &'static str, fields: Vec<Field<T>>) -> Self {
        Object { name, about, fields }
    }

    /// What it says of `subject`.
    pub fn json(&self, subject: &T) -> Json {
        let field = |field: &Field<T>| Some((field.shape.name, (field.value)(subject)?));
        Json::Object(self.fields.iter().filter_map(field).collect())
    }

    /// What each of `subjects` is, as a list.
    pub fn list<'a>(&self, subjects: impl IntoIterator<Item = &'a T>) -> Json
    where
        T: 'a,
    {
        Json::List(subjects.into_iter().map(|subject| self.json(subject)).collect())
    }

    /// Its fields without values.
    pub fn shape(self) -> Shape {
        let fields = self.fields.into_iter().map(|field| field.shape).collect();
        Shape { name: self.name, about: self.about, fields }
    }
}

/// The shape and those that its fields refer to, each once, in the order in which a reader meets them.
pub fn with_parts(shape: fn() -> Shape) -> Vec<Shape> {
    let mut found: Vec<Shape> = Vec::new();
    let mut wanted = vec![shape];
    while let Some(next) = wanted.pop() {
        let shape = next();
        if found.iter().any(|other| other.name == shape.name) {
            continue;
        }
        // The first is met first.
        wanted.extend(shape.fields.iter().rev().filter_map(|field| part(&field.form)));
        found.push(shape);
    }
    found
}

fn part(form: &Form) -> Option<fn() -> Shape> {
    match form {
        Form::Object(shape) => Some(*shape),
        Form::List(form) => part(form),
        _ => None,
    }
}

/// The JSON Schema (draft 2020-12) of an object. A reader may meet fields that are not in it: later versions add some.
pub fn schema(title: &str, shape: fn() -> Shape) -> Value {
    let mut shapes = with_parts(shape).into_iter();
    let mut schema = Map::new();
    schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".into(), title.into());
    if let Some(whole) = shapes.next() {
        schema.extend(object_schema(&whole));
    }
    let parts = shapes.map(|shape| (shape.name.to_owned(), Value::Object(object_schema(&shape)))).collect();
    schema.insert("$defs".into(), Value::Object(parts));
    Value::Object(schema)
}

fn object_schema(shape: &Shape) -> Map<String, Value> {
    let described = |field: &FieldShape| {
        let mut schema = form_schema(&field.form);
        schema["description"] = field.about.into();
        (field.name.to_owned(), schema)
    };
    let properties: Map<_, _> = shape.fields.iter().map(described).collect();
    let required: Vec<_> =
        shape.fields.iter().filter(|field| field.is_required).map(|field| field.name).collect();
    let mut schema = Map::new();
    schema.insert("description".into(), shape.about.into());
    schema.insert("type".into(), "object".into());
    schema.insert("required".into(), required.into());
    schema.insert("properties".into(), Value::Object(properties));
    schema
}

fn form_schema(form: &Form) -> Value {
    match form {
        Form::Whole => json!({"type": "integer", "minimum": 0}),
        Form::Share => json!({"type": "number", "minimum": 0, "maximum": 1}),
        Form::Real => json!({"type": "number", "minimum": 0}),
        Form::Flag => json!({"type": "boolean"}),
        Form::Text => json!({"type": "string"}),
        Form::Word(words) => json!({"enum": words}),
        Form::Only(number) => json!({"const": number}),
        Form::Moment => json!({"type": "string", "format": "date-time"}),
        Form::Tuple(forms) => {
            let items: Vec<_> = forms.iter().map(form_schema).collect();
            json!({"type": "array", "prefixItems": items, "minItems": items.len(), "maxItems": items.len()})
        }
        Form::List(form) => json!({"type": "array", "items": form_schema(form)}),
        Form::Object(shape) => json!({"$ref": format!("#/$defs/{}", shape().name)}),
    }
}
