//! Which answers may be stored: complete ones that are what was asked for.

use serde_json::Value;

use super::answer::{Answer, Finish};
use super::chat::{Chat, Content, Output, Tool, ToolCall};
use super::members::is_blank;
use super::schema_check;

/// Members of a reply that were looked up somewhere and will age, or that only one caller asked for, by where they stand.
/// Formats keep members of the message and of the choice below these names.
const NOT_STORED: [(Option<&str>, &[&str]); 4] = [
    (None, &["citations", "search_results", "error"]),
    (Some("message"), &["annotations", "audio"]),
    (Some("choice"), &["logprobs"]),
    (Some("candidate"), &["groundingMetadata", "urlContextMetadata", "logprobsResult"]),
];

/// Why an answer isn't stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotStorable {
    /// It was cut, filtered, or ended for a reason that isn't known.
    #[error("it is not complete: {0}")]
    Incomplete(String),
    /// The model refuses.
    #[error("it is a refusal")]
    Refusal,
    /// Neither text nor a call of a tool.
    #[error("it is empty")]
    Empty,
    /// It has something that would be lost, or that ages.
    #[error("it has `{0}`, which can't be stored")]
    Unsupported(String),
    /// It isn't what was asked for.
    #[error(transparent)]
    Defective(#[from] Defect),
}

/// What is wrong with an answer that is complete: the model didn't do what was demanded. Another try may do better.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// A tool is called that wasn't offered.
    #[error("it calls the tool `{0}`, which wasn't offered")]
    UnknownTool(String),
    /// The arguments of a call are no JSON, or not what the tool's schema demands.
    #[error("the arguments for the tool `{0}` don't fit: {1}")]
    Arguments(String, String),
    /// The text is no JSON, or not what the schema demands.
    #[error("it isn't the JSON that was demanded: {0}")]
    Output(String),
}

/// Whether `answer` may be stored as the answer to `chat`.
///
/// # Errors
/// Why not.
pub fn check_storable(answer: &Answer, chat: &Chat) -> Result<(), NotStorable> {
    match &answer.finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => {}
        Finish::Refusal => return Err(NotStorable::Refusal),
        Finish::Length => return Err(NotStorable::Incomplete("the limit of tokens was reached".into())),
        Finish::ContentFilter => return Err(NotStorable::Incomplete("a filter withheld a part".into())),
        Finish::Other(_, word) => return Err(NotStorable::Incomplete(word.clone())),
    }
    if let Some(member) = &answer.lossy {
        return Err(NotStorable::Unsupported(member.clone()));
    }
    if let Some(member) = member_not_stored(answer) {
        return Err(NotStorable::Unsupported(member.into()));
    }
    for part in &answer.parts {
        match &part.content {
            Content::Refusal(text) if !text.is_empty() => return Err(NotStorable::Refusal),
            Content::Text(_) | Content::Reasoning(_) | Content::ToolCall(_) | Content::Refusal(_) => {}
            Content::Foreign(_, value) => {
                let kind = value["type"].as_str().unwrap_or("a part of unknown type");
                return Err(NotStorable::Unsupported(kind.into()));
            }
            _ => return Err(NotStorable::Unsupported("a part that is no text".into())),
        }
    }
    if answer.text().trim().is_empty() && !answer.calls_tools() {
        return Err(NotStorable::Empty);
    }
    Ok(check_fitting(answer, chat)?)
}

/// Whether an answer that is complete is what `chat` asks for: its calls are of tools that were offered, with arguments
/// that fit their schemas, and its text is the JSON that was demanded.
///
/// # Errors
/// What is wrong with it.
pub fn check_fitting(answer: &Answer, chat: &Chat) -> Result<(), Defect> {
    for part in &answer.parts {
        if let Content::ToolCall(call) = &part.content {
            check_call(call, chat)?;
        }
    }
    if answer.calls_tools() {
        return Ok(());
    }
    match &chat.output {
        Output::Text | Output::Foreign(..) => Ok(()),
        Output::JsonObject => {
            let value: Value = parse(&answer.text()).map_err(Defect::Output)?;
            if value.is_object() { Ok(()) } else { Err(Defect::Output("it is no object".into())) }
        }
        Output::JsonSchema { schema, .. } => {
            let value: Value = parse(&answer.text()).map_err(Defect::Output)?;
            schema_check::check(&value, schema).map_err(Defect::Output)
        }
    }
}

fn check_call(call: &ToolCall, chat: &Chat) -> Result<(), Defect> {
    let mut has_foreign = false;
    for tool in &chat.tools {
        match tool {
            Tool::Function { name, parameters, .. } if *name == call.name => {
                let text = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
                let wrong = |why| Defect::Arguments(call.name.clone(), why);
                let arguments = parse(text).map_err(wrong)?;
                return parameters
                    .as_ref()
                    .map_or(Ok(()), |schema| schema_check::check(&arguments, schema))
                    .map_err(wrong);
            }
            Tool::Function { .. } => {}
            // Whatever it is called, only its own format knows.
            Tool::Foreign(..) => has_foreign = true,
        }
    }
    if has_foreign { Ok(()) } else { Err(Defect::UnknownTool(call.name.clone())) }
}

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn member_not_stored(answer: &Answer) -> Option<&'static str> {
    let (_, members) = answer.extra.get()?;
    NOT_STORED.iter().find_map(|(below, names)| {
        let of = |name: &str| match below {
            None => members.get(name),
            Some(below) => members.get(*below)?.get(name),
        };
        names.iter().copied().find(|name| of(name).is_some_and(|value| !is_blank(value)))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::FormatId;
    use crate::llm::chat::{Extra, Part};

    fn says(text: &str) -> Answer {
        Answer::of_text(text)
    }

    fn calls(name: &str, arguments: &str) -> Answer {
        let call = ToolCall { id: "c".into(), name: name.into(), arguments: arguments.into() };
        Answer { parts: vec![Part::new(Content::ToolCall(call))], finish: Finish::ToolCalls, ..Answer::default() }
    }

    fn with_tool(schema: Option<Value>) -> Chat {
        let tool = Tool::Function {
            name: "f".into(),
            description: None,
            parameters: schema,
            strict: None,
            extra: Extra::default(),
        };
        Chat { tools: vec![tool], ..Chat::default() }
    }

    fn wants(output: Output) -> Chat {
        Chat { output, ..Chat::default() }
    }

    #[test]
    fn only_complete_answers_are_stored() {
        let chat = Chat::default();
        assert_eq!(check_storable(&says("Paris"), &chat), Ok(()));
        assert_eq!(check_storable(&says(" \n"), &chat), Err(NotStorable::Empty));
        for finish in
            [Finish::Length, Finish::ContentFilter, Finish::Refusal, Finish::Other(FormatId::Gemini, "X".into())]
        {
            assert!(check_storable(&Answer { finish, ..says("Par") }, &chat).is_err());
        }
        let refusal = Answer { parts: vec![Part::new(Content::Refusal("No.".into()))], ..Answer::default() };
        assert_eq!(check_storable(&refusal, &chat), Err(NotStorable::Refusal));
        let lossy = Answer { lossy: Some("hologram".into()), ..says("a") };
        assert_eq!(check_storable(&lossy, &chat), Err(NotStorable::Unsupported("hologram".into())));
    }

    #[test]
    fn what_was_looked_up_is_not_stored() {
        let chat = Chat::default();
        let with = |members: Value| {
            let Value::Object(members) = members else { panic!() };
            check_storable(&Answer { extra: Extra::new(FormatId::OpenAiChat, members), ..says("a") }, &chat)
        };
        for members in [
            json!({"citations": ["u"]}),
            json!({"message": {"annotations": [1]}}),
            json!({"choice": {"logprobs": {"a": 1}}}),
        ] {
            assert!(with(members.clone()).is_err(), "{members}");
        }
        for members in [
            json!({"citations": []}),
            json!({"message": {"provider_specific_fields": {"refusal": null}}}),
            json!({"x": 1}),
        ] {
            assert_eq!(with(members.clone()), Ok(()), "{members}");
        }
        let searched = Part::new(Content::Foreign(FormatId::Anthropic, json!({"type": "web_search_tool_result"})));
        let answer = Answer { parts: vec![searched, Part::text("a")], ..Answer::default() };
        assert_eq!(check_storable(&answer, &chat), Err(NotStorable::Unsupported("web_search_tool_result".into())));
    }

    #[test]
    fn calls_are_of_offered_tools_and_fit_their_schemas() {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        let chat = with_tool(Some(schema));
        assert_eq!(check_storable(&calls("f", "{\"city\": \"Paris\"}"), &chat), Ok(()));
        for arguments in ["{\"city\": \"", "{\"city\": 5}", "{}", "", "[]"] {
            let checked = check_storable(&calls("f", arguments), &chat);
            assert!(matches!(checked, Err(NotStorable::Defective(Defect::Arguments(..)))), "{arguments}");
        }
        let unknown = check_storable(&calls("g", "{}"), &chat);
        assert_eq!(unknown, Err(NotStorable::Defective(Defect::UnknownTool("g".into()))));
        assert_eq!(check_storable(&calls("f", ""), &with_tool(None)), Ok(()));
        // A schema that can't be used demands nothing but JSON.
        let odd = with_tool(Some(json!({"$ref": "https://example.com/schema.json"})));
        assert_eq!(check_storable(&calls("f", "{}"), &odd), Ok(()));
        assert!(check_storable(&calls("f", "{"), &odd).is_err());
    }

    #[test]
    fn json_is_json_where_it_was_demanded() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
        let schema = wants(Output::JsonSchema { name: None, description: None, schema, strict: Some(true) });
        assert_eq!(check_storable(&says("{\"a\": 1}"), &schema), Ok(()));
        for text in ["Here you are: {\"a\": 1}", "{\"a\": \"1\"}", "{}", "{\"a\": 1"] {
            assert!(check_storable(&says(text), &schema).is_err(), "{text}");
        }
        assert_eq!(check_storable(&says("{\"x\": 1}"), &wants(Output::JsonObject)), Ok(()));
        for text in ["[1]", "Paris"] {
            assert!(check_storable(&says(text), &wants(Output::JsonObject)).is_err(), "{text}");
        }
    }
}
