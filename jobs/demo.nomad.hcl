# Two replicas of a small web server, and one address in front of them for ten minutes.
#
# From a checkout, after `make setup`:
#
#     sudo nomad agent -dev
#     nomad job run jobs/demo.nomad.hcl
#
# The first stays in its terminal, the second goes into another.  Then:
#
#     curl http://127.0.0.1:8080/                  replica 0 or replica 1
#     nomad job scale demo replicas 3              a third one joins, no request is lost
#     nomad job status demo                        at the end the balancer is `complete`
#     nomad job stop -purge demo
#
# The job is of type batch, because only there exit code 0 means "done": a service task is started
# again whatever its code.  So it needs no `restart` block, and whoever reads `failed` can believe it.
# The replicas have no deadline of their own, they run until the job is stopped.  To scale after the
# balancer is complete starts a new one, with a TTL of its own.

variable "autoexit_nginx" {
  description = "the command, as `make setup` or pip installs it; relative to where nomad is called"
  type        = string
  default     = ".venv/bin/autoexit-nginx"
}

variable "count" {
  description = "replicas to begin with"
  type        = number
  default     = 2
}

variable "ttl" {
  description = "how long the balancer serves: 90s, 1h30m, 7d"
  type        = string
  default     = "10m"
}

variable "deadline" {
  description = "its end as an instant, RFC 3339; wins over ttl"
  type        = string
  default     = ""
}

variable "port" {
  description = "public port of the balancer"
  type        = number
  default     = 8080
}

variable "service" {
  description = "name under which the replicas register, and which the balancer follows"
  type        = string
  default     = "demo-replicas"
}

variable "namespace" {
  type    = string
  default = "default"
}

variable "datacenters" {
  type    = list(string)
  default = ["*"]
}

job "demo" {
  type        = "batch"
  namespace   = var.namespace
  datacenters = var.datacenters

  group "replicas" {
    count = var.count

    # Nomad takes an instance out of the registry first, and stops it this much later: the time in
    # which the balancer stops sending to it.
    shutdown_delay = "2s"

    network {
      port "http" {}
    }

    service {
      provider = "nomad"
      name     = var.service
      port     = "http"
    }

    task "server" {
      driver = "raw_exec"

      config {
        command = "python3"
        args = [
          "-m", "http.server", "${NOMAD_PORT_http}",
          "--bind", "${NOMAD_IP_http}", "--directory", "${NOMAD_TASK_DIR}",
        ]
      }

      template {
        destination = "local/index.html"
        data        = <<-EOT
          replica {{ env "NOMAD_ALLOC_INDEX" }}
        EOT
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }

  group "balancer" {
    network {
      port "http" {
        static = var.port # NOMAD_PORT_http, which the balancer listens on by default
      }
    }

    task "nginx" {
      driver = "raw_exec"

      config {
        command = abspath(var.autoexit_nginx)
        args    = ["run"]
      }

      env {
        SERVICE_NAME   = var.service
        TTL            = var.ttl
        DEADLINE       = var.deadline
        LISTEN_ADDRESS = "${NOMAD_IP_http}" # without it: all addresses of the machine
        STOP_TIMEOUT   = "4s"               # how long a stop may take, within kill_timeout
      }

      kill_timeout = "5s"

      # The workload's own token: with it the balancer asks for the replicas through the Task API's
      # socket in its secrets folder, also where ACLs are on, and needs no policy.
      identity {
        env  = true
        file = true
      }

      resources {
        cpu    = 100
        memory = 128
      }
    }
  }
}
