# Two replicas of a small web server behind one address, for ten minutes.
#
# From a checkout, after `make setup`:
#
#     sudo nomad agent -dev
#     nomad job run jobs/demo.nomad.hcl
#
# The first command keeps its terminal; run the second in another one.  Then:
#
#     curl http://127.0.0.1:8080/                  replica 0 or replica 1
#     nomad job scale demo replicas 3              adds a third one and loses no request
#     sudo .venv/bin/autoexit-nginx status         its endpoints and deadline
#     sudo .venv/bin/autoexit-nginx extend 10m     moves the deadline
#     nomad job status demo                        after the deadline the balancer is `complete`
#     nomad job stop -purge demo
#
# The job has type batch, because only there exit code 0 means "done": a service task is restarted
# whatever its code.  So it needs no `restart` block, and `failed` always means a failure.
# The replicas have no deadline; they run until the job is stopped.  Scaling after the balancer is
# complete starts a new one, with its own TTL.

variable "autoexit_nginx" {
  description = "the command, as installed by `make setup` or pip; relative to nomad's working directory"
  type        = string
  default     = ".venv/bin/autoexit-nginx"
}

variable "count" {
  description = "initial number of replicas"
  type        = number
  default     = 2
}

variable "ttl" {
  description = "lifetime of the balancer: 90s, 1h30m, 7d"
  type        = string
  default     = "10m"
}

variable "deadline" {
  description = "deadline as a point in time, RFC 3339; overrides ttl"
  type        = string
  default     = ""
}

variable "port" {
  description = "public port of the balancer"
  type        = number
  default     = 8080
}

variable "service" {
  description = "service name that the replicas register and the balancer discovers"
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

    # Nomad deregisters an instance, then stops it after this delay, in which the balancer stops
    # sending requests to it.
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
        static = var.port # NOMAD_PORT_http, the balancer's default port
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
        LISTEN_ADDRESS = "${NOMAD_IP_http}" # default: all addresses of the machine
        STOP_TIMEOUT   = "4s"               # time limit of a stop, less than kill_timeout
      }

      kill_timeout = "5s"

      # The workload identity token: with it the balancer discovers the replicas through the Task
      # API's socket in its secrets directory.  No policy is needed, even with ACLs enabled.
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
