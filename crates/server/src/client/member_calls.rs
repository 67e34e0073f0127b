//! Asking for changes of the group, and printing the answer.

use tonic::Response;
use tonic::transport::Channel;

use super::endpoints::plain;
use super::member_args::{AddArgs, MemberCommand, TimingCommand};
use super::{ClientError, Endpoints, Kind, Printer, StatusRequest};
use crate::proto::etcdserverpb::cluster_client::ClusterClient;
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::proto::etcdserverpb::{MemberListRequest, MoveLeaderRequest, StatusResponse};
use crate::proto::group::GetTimingRequest;
use crate::proto::group::timing_client::TimingClient;
use crate::proto::group::witnesses_client::WitnessesClient;

macro_rules! ask {
    ($endpoints:expr, $kind:expr, $client:ident.$method:ident($request:expr)) => {{
        let request = $request;
        let call = |channel: Channel| {
            let request = plain(&request);
            async move {
                let answer = $client::new(channel).$method(request).await;
                answer.map(Response::into_inner)
            }
        };
        $endpoints.first($kind, call).await
    }};
}

pub async fn member(
    endpoints: &Endpoints,
    command: MemberCommand,
    printer: &mut Printer,
) -> Result<(), ClientError> {
    match command {
        MemberCommand::Add(args) => add(endpoints, &args, printer).await,
        MemberCommand::List => list(endpoints, printer).await,
        MemberCommand::Remove(args) => {
            let request = args.remove()?;
            let answer = ask!(endpoints, Kind::Write, ClusterClient.member_remove(request))?;
            printer.member_changed(args.id()?, "removed from", &answer.header, &answer.members)
        }
        MemberCommand::Promote(args) => {
            let request = args.promote()?;
            let answer = ask!(
                endpoints,
                Kind::Write,
                ClusterClient.member_promote(request)
            )?;
            printer.member_changed(args.id()?, "promoted in", &answer.header, &answer.members)
        }
        MemberCommand::Update(args) => {
            let request = args.request()?;
            let id = request.id;
            let answer = ask!(endpoints, Kind::Write, ClusterClient.member_update(request))?;
            printer.member_changed(id, "updated in", &answer.header, &answer.members)
        }
    }
}

async fn add(
    endpoints: &Endpoints,
    args: &AddArgs,
    printer: &mut Printer,
) -> Result<(), ClientError> {
    let answer = match args.witness {
        true => ask!(
            endpoints,
            Kind::Write,
            WitnessesClient.add(args.witness_request())
        )?,
        false => ask!(
            endpoints,
            Kind::Write,
            ClusterClient.member_add(args.request())
        )?,
    };
    printer.member_added(&args.name, &answer)
}

pub async fn list(endpoints: &Endpoints, printer: &mut Printer) -> Result<(), ClientError> {
    let request = MemberListRequest { linearizable: true };
    let answer = ask!(endpoints, Kind::Read, ClusterClient.member_list(request))?;
    printer.members(&answer)
}

pub async fn move_leader(
    endpoints: &Endpoints,
    request: MoveLeaderRequest,
    printer: &mut Printer,
) -> Result<(), ClientError> {
    let (endpoint, leader) = leader(endpoints).await?;
    let to = request.target_id;
    let at_leader = endpoints.only(&endpoint);
    ask!(
        at_leader,
        Kind::Write,
        MaintenanceClient.move_leader(request)
    )?;
    printer.leader_moved(leader, to)
}

/// Only the leader hands over, so it must be found first.
async fn leader(endpoints: &Endpoints) -> Result<(String, u64), ClientError> {
    let call = |channel| async move {
        let mut client = MaintenanceClient::new(channel);
        let answer = client.status(StatusRequest {}).await;
        answer.map(Response::into_inner)
    };
    let own_id = |answer: &StatusResponse| answer.header.as_ref().map_or(0, |it| it.member_id);
    let mut failures = Vec::new();
    for (endpoint, answer) in endpoints.each(call).await {
        match answer {
            Ok(answer) if answer.leader != 0 && own_id(&answer) == answer.leader => {
                return Ok((endpoint, answer.leader));
            }
            Ok(_) => failures.push(format!("{endpoint} follows")),
            Err(reason) => failures.push(format!("{endpoint}: {reason}")),
        }
    }
    let failures = failures.join(", ");
    Err(ClientError::NoLeaderGiven(failures))
}

pub async fn timing(
    endpoints: &Endpoints,
    command: TimingCommand,
    printer: &mut Printer,
) -> Result<(), ClientError> {
    let answer = match command {
        TimingCommand::Get => ask!(endpoints, Kind::Read, TimingClient.get(GetTimingRequest {}))?,
        TimingCommand::Set(args) => ask!(endpoints, Kind::Write, TimingClient.set(args.request()))?,
    };
    printer.timing(&answer)
}
