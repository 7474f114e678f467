# Replicas without a deadline of their own, and a balancer that takes them with it at its own:
# what tests/e2e/test_stop_job.py runs.

variable "ttl" {
  type = string
}

variable "port" {
  type = number
}

variable "type" {
  type    = string
  default = "batch"
}

variable "parameterized" {
  type    = bool
  default = false
}

variable "autoexit_nginx" {
  type    = string
  default = ".venv/bin/autoexit-nginx"
}

job "stopped" {
  type        = var.type
  datacenters = ["*"]

  dynamic "parameterized" {
    for_each = var.parameterized ? ["once"] : []
    content {}
  }

  group "replicas" {
    count          = 2
    shutdown_delay = "2s" # out of the registry first: the balancer is gone before they are

    network {
      port "http" {}
    }

    service {
      provider = "nomad"
      name     = "stopped-replicas"
      port     = "http"
    }

    task "server" {
      driver = "raw_exec"

      config {
        command = "python3"
        args    = ["-m", "http.server", "${NOMAD_PORT_http}", "--bind", "${NOMAD_IP_http}"]
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
        static = var.port
      }
    }

    task "nginx" {
      driver = "raw_exec"

      config {
        command = abspath(var.autoexit_nginx)
        args    = ["run"]
      }

      env {
        SERVICE_NAME   = "stopped-replicas"
        TTL            = var.ttl
        AT_DEADLINE    = "stop-job"
        LISTEN_ADDRESS = "${NOMAD_IP_http}"
      }

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
